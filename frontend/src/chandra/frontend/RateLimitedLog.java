package chandra.frontend;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Logs an event that clients cause: the first few of each reason in a minute, and then how many
 * more there were, so that a client that repeats itself cannot fill a disk. Thread-safe.
 *
 * <p>Reasons must be constants: one that quoted a client would be another reason each time.
 */
final class RateLimitedLog {
    private static final Logger LOGGER = LoggerFactory.getLogger(RateLimitedLog.class);
    private static final int MAX_LINES = 5;
    private static final long WINDOW_SECONDS = 60;

    private final String event;

    /** Events by reason, in the window that began with the first of that reason. */
    private final Map<String, Integer> numbers = new HashMap<>();

    RateLimitedLog(String event) {
        this.event = event;
    }

    /** Counts an event; {@code executor} ends the window. */
    synchronized void add(String reason, ScheduledExecutorService executor) {
        int number = numbers.merge(reason, 1, Integer::sum);
        if (number == 1) {
            executor.schedule(() -> endWindow(reason), WINDOW_SECONDS, TimeUnit.SECONDS);
        }
        if (number <= MAX_LINES) {
            LOGGER.warn("{}: {}", event, reason);
        }
    }

    private synchronized void endWindow(String reason) {
        int numMore = numbers.remove(reason) - MAX_LINES;
        if (numMore > 0) {
            LOGGER.warn("{}, {} more in {} s: {}", event, numMore, WINDOW_SECONDS, reason);
        }
    }
}
