package chandra.frontend;

import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Logs that connections cannot be accepted, for want of file descriptors mostly: one line a
 * minute. Netty tries again every second, and says so only where warnings of its own are logged.
 */
final class AcceptFailures {
    private static final Logger LOGGER = LoggerFactory.getLogger(AcceptFailures.class);
    private static final long QUIET_NANOSECONDS = TimeUnit.MINUTES.toNanos(1);

    private static boolean hasLogged;
    private static long loggedAt;

    private AcceptFailures() {}

    /** Says why the last connection could not be accepted, unless it was said just now. */
    static synchronized void report(Throwable cause) {
        long now = System.nanoTime();
        if (hasLogged && now - loggedAt < QUIET_NANOSECONDS) {
            return;
        }
        hasLogged = true;
        loggedAt = now;
        LOGGER.error(
                "connections cannot be accepted and wait, tried again every second: {}",
                cause.toString());
    }
}
