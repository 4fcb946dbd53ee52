package chandra.frontend;

import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Rate-limited log of failures to accept connections, which mostly have no file descriptor left.
 *
 * <p>Netty retries every second, and reports the failure only at a log level that is disabled here.
 * At most one line per minute is logged.
 */
final class AcceptFailures {
    private static final Logger LOGGER = LoggerFactory.getLogger(AcceptFailures.class);
    private static final long QUIET_NANOSECONDS = TimeUnit.MINUTES.toNanos(1);

    private static boolean hasLogged;
    private static long loggedAt;

    private AcceptFailures() {}

    /** Logs the cause of a failure, unless a failure was logged within the last minute. */
    static synchronized void report(Throwable cause) {
        long now = System.nanoTime();
        if (hasLogged && now - loggedAt < QUIET_NANOSECONDS) {
            return;
        }
        hasLogged = true;
        loggedAt = now;
        LOGGER.error(
                "cannot accept connections; they wait, and accepting is retried every second: {}",
                cause.toString());
    }
}
