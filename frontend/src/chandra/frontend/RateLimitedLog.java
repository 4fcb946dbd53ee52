package chandra.frontend;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.ConfigManager;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Rate-limited log of an event that clients cause, so that a client cannot fill a disk.
 *
 * <p>Logs the first few events of each reason in {@code chandra_log_window_seconds}, and at the end
 * of this window the number of further ones. Reasons must be constants: text from a client would
 * create a new reason each time. Thread-safe.
 */
final class RateLimitedLog {
    private static final Logger LOGGER = LoggerFactory.getLogger(RateLimitedLog.class);
    private static final int MAX_LINES = 5;

    private final String event;
    private final long windowSeconds;

    /** Number of events per reason, in the window that began with the first event of the reason. */
    private final Map<String, Integer> numbers = new HashMap<>();

    RateLimitedLog(String event, ConfigManager config) {
        this.event = event;
        windowSeconds =
                Long.parseLong(config.getProperty("chandra_log_window_seconds", "60"));
    }

    /** Logs or counts an event. {@code executor} runs the end of the window. */
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
