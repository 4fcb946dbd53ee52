package chandra.frontend;

import java.util.concurrent.atomic.AtomicLong;
import org.pytorch.serve.util.ConfigManager;

/**
 * What the bodies of all open requests may take of Java's memory.
 *
 * <p>Java holds a body as it came, and copies of it on its way to the worker. Copies of bodies of
 * a usual size are set aside by whoever chooses the budget; larger ones count for the rest.
 */
final class Budget {
    private static final long MIB = 1L << 20;
    private static final int COPIES = 3;

    private final long bytes;
    private final long usualBytes;
    private final AtomicLong claimed = new AtomicLong();

    Budget(ConfigManager config) {
        bytes = Long.parseLong(config.getProperty("chandra_body_budget_mb", "1792")) * MIB;
        usualBytes = Long.parseLong(config.getProperty("chandra_body_usual_mb", "0")) * MIB;
    }

    /** One request's part. */
    final class Claim {
        /** Otherwise a request without a body, whose answer comes in its turn. */
        final boolean isDocument;

        private long taken;

        Claim(boolean isDocument) {
            this.isDocument = isDocument;
        }

        /**
         * Takes what a body of so many bytes needs; false where there is no room for it now. A
         * request that is alone always has room: it would never have it otherwise.
         */
        boolean cover(long length) {
            long more = length + COPIES * Math.max(0, length - usualBytes) - taken;
            if (more <= 0) {
                return true;
            }
            long total = claimed.addAndGet(more);
            if (total > bytes && total > taken + more) {
                claimed.addAndGet(-more);
                return false;
            }
            taken += more;
            return true;
        }

        void release() {
            claimed.addAndGet(-taken);
            taken = 0;
        }
    }
}
