package chandra.frontend;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.ConfigManager;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Logs an event that clients cause: the first few of each reason in {@code
 * chandra_log_window_seconds}, and then how many more there were, so that a client that repeats
 * itself cannot fill a disk. Thread-safe.
 *
 * <p>Reasons must be constants: one that quoted a client would be another reason each time.
 */
final class RateLimitedLog {
    private static final Logger LOGGER = LoggerFactory.getLogger(RateLimitedLog.class);
    private static final int MAX_LINES = 5;

    private final String event;
    private final long windowSeconds;

    /** Events by reason, in the window that began with the first of that reason. */
    private final Map<String, Integer> numbers = new HashMap<>();

    RateLimitedLog(String event, ConfigManager config) {
        this.event = event;
        windowSeconds =
                Long.parseLong(config.getProperty("chandra_log_window_seconds", "60"));
    }

    /** Counts an event; {@code executor} ends the window. */
    synchronized void add(String reason, ScheduledExecutorService executor) {
        int number = numbers.merge(reason, 1, Integer::sum);
        if (number == 1) {
            executor.schedule(() -> endWindow(reason), windowSeconds, TimeUnit.SECONDS);
        }
        if (number <= MAX_LINES) {
            LOGGER.warn("{}: {}", event, reason);
        }
    }

    private synchronized void endWindow(String reason) {
        int numMore = numbers.remove(reason) - MAX_LINES;
        if (numMore > 0) {
            LOGGER.warn("{}, {} more in {} s: {}", event, numMore, windowSeconds, reason);
        }
    }
}
