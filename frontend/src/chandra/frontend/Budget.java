package chandra.frontend;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.ConfigManager;

/**
 * Memory budget for the bodies of open requests and for unsent responses. Thread-safe.
 *
 * <p>Java holds a body as it was received, and makes copies of it for the worker. The container
 * plans memory for the copies of bodies up to a usual size. Bytes above that size are counted with
 * their copies.
 *
 * <p>An upload reserves the bytes that have arrived and a window ahead of them, which grows with
 * the received bytes. A client that announces a large body but sends little therefore reserves
 * little. When uploads exceed the budget together, the newest one is rejected, so that older ones
 * finish.
 *
 * <p>Responses wait for clients that read slowly. When they exceed their share of the budget, the
 * connections whose clients have not read for the longest time are closed.
 */
final class Budget {
    private static final long MIB = 1L << 20;
    private static final int COPIES = 3;

    /** Unread responses may use the budget divided by this number. */
    private static final int RESPONSE_SHARE = 4;

    /** A client that has read within this time is not closed, up to twice that share. */
    private static final long PATIENCE_NANOSECONDS = TimeUnit.SECONDS.toNanos(5);

    /** Limits of the window, which otherwise equals the number of received bytes. */
    private static final long MIN_WINDOW_BYTES = 64 * 1024;

    private static final long MAX_WINDOW_BYTES = 4 * MIB;

    private final long bytes;
    private final long usualBytes;

    /** Uploads in progress, in the order in which they began. */
    private final Deque<Reservation> growing = new ArrayDeque<>();

    private long totalReserved;

    /** The part of {@code totalReserved} that belongs to uploads being evicted. */
    private long evictedBytes;

    /** Connections with unsent responses. */
    private final Set<Responses> waiting = new HashSet<>();

    private long totalUnsent;

    Budget(ConfigManager config) {
        bytes = Long.parseLong(config.getProperty("chandra_body_budget_mb", "1792")) * MIB;
        usualBytes = Long.parseLong(config.getProperty("chandra_body_usual_mb", "0")) * MIB;
    }

    private boolean fits(long more) {
        return totalReserved - evictedBytes + totalUnsent + more <= bytes;
    }

    private static long withWindow(long received, long announced) {
        long window = Math.min(MAX_WINDOW_BYTES, Math.max(MIN_WINDOW_BYTES, received));
        return Math.min(announced, received + window);
    }

    /** Reservation of one request. */
    final class Reservation {
        /** True if the request carries a document; false for status requests and rejected ones. */
        final boolean isDocument;

        private final Runnable evict;
        private long reservedBytes;
        private boolean isEvicted;

        /** Calls {@code evict} at most once, on any thread, when the upload has to be aborted. */
        Reservation(boolean isDocument, Runnable evict) {
            this.isDocument = isDocument;
            this.evict = evict;
        }

        /** Reserves the first window of a body; returns false if there is no room for it. */
        boolean begin(long announced) {
            synchronized (Budget.this) {
                growing.add(this);
                boolean hasRoom = reserve(withWindow(0, announced));
                if (!hasRoom) {
                    growing.remove(this);
                }
                return hasRoom;
            }
        }

        /**
         * Reserves the received bytes and the next window; returns false if the upload must be
         * aborted.
         */
        boolean grow(long received, long announced) {
            return reserve(withWindow(received, announced));
        }

        /** Reserves exactly the complete body; returns false if the upload must be aborted. */
        boolean complete(long received) {
            // Do both under one lock, so that a complete body is never chosen for eviction.
            synchronized (Budget.this) {
                boolean hasRoom = reserve(received);
                growing.remove(this);
                return hasRoom;
            }
        }

        void release() {
            synchronized (Budget.this) {
                growing.remove(this);
                totalReserved -= reservedBytes;
                if (isEvicted) {
                    evictedBytes -= reservedBytes;
                }
                reservedBytes = 0;
            }
        }

        /**
         * Reserves memory for a body of the given length, and evicts newer uploads if necessary.
         *
         * <p>A single request always succeeds, because otherwise it could never be served.
         */
        private boolean reserve(long length) {
            List<Reservation> evicted = new ArrayList<>();
            synchronized (Budget.this) {
                if (isEvicted) {
                    return false;
                }
                long cost = length + COPIES * Math.max(0, length - usualBytes);
                long more = cost - reservedBytes;
                boolean isAlone = totalReserved - evictedBytes + totalUnsent <= reservedBytes;
                if (more > 0 && !isAlone && !fits(more)) {
                    evicted = findNewestToEvict(more);
                    if (evicted.isEmpty()) {
                        return false;
                    }
                }
                for (Reservation reservation : evicted) {
                    reservation.isEvicted = true;
                    evictedBytes += reservation.reservedBytes;
                    growing.remove(reservation);
                }
                totalReserved += more;
                reservedBytes += more;
            }
            evicted.forEach(reservation -> reservation.evict.run());
            return true;
        }

        /**
         * Returns the newest uploads that free enough room; empty if those newer than this one do
         * not.
         */
        private List<Reservation> findNewestToEvict(long more) {
            List<Reservation> newer = new ArrayList<>();
            long freed = 0;
            for (Iterator<Reservation> newest = growing.descendingIterator(); newest.hasNext(); ) {
                Reservation reservation = newest.next();
                if (reservation == this) {
                    break;
                }
                newer.add(reservation);
                freed += reservation.reservedBytes;
                if (fits(more - freed)) {
                    return newer;
                }
            }
            return List.of();
        }
    }

    /** Unsent responses of one connection. A message counts in full until all of it is sent. */
    final class Responses {
        private final Runnable close;
        private long length;
        private long progressAt;
        private boolean isClosed;

        /**
         * Calls {@code close} at most once, on any thread, when the connection has to be closed.
         */
        Responses(Runnable close) {
            this.close = close;
        }

        /** Adds bytes to be sent, and closes connections if the share is exceeded. */
        void add(long more) {
            List<Responses> closed = new ArrayList<>();
            synchronized (Budget.this) {
                if (isClosed) {
                    return;
                }
                if (length == 0) {
                    progressAt = System.nanoTime();
                }
                length += more;
                totalUnsent += more;
                if (length > 0) {
                    waiting.add(this);
                }
                Optional<Responses> slowest = findSlowest();
                while (slowest.isPresent()) {
                    closed.add(slowest.get());
                    slowest.get().forget();
                    slowest = findSlowest();
                }
            }
            closed.forEach(responses -> responses.close.run());
        }

        /** Records that the client has received some bytes. */
        void progress() {
            synchronized (Budget.this) {
                progressAt = System.nanoTime();
            }
        }

        /** Subtracts bytes that Java has released. */
        void sent(long fewer) {
            synchronized (Budget.this) {
                if (isClosed) {
                    return;
                }
                length -= fewer;
                totalUnsent -= fewer;
                if (length == 0) {
                    waiting.remove(this);
                }
            }
        }

        /** Returns the number of counted bytes. */
        long length() {
            synchronized (Budget.this) {
                return length;
            }
        }

        void release() {
            synchronized (Budget.this) {
                forget();
            }
        }

        private void forget() {
            isClosed = true;
            totalUnsent -= length;
            length = 0;
            waiting.remove(this);
        }
    }

    /** Returns the connection to close next; empty while there is room or if it is the only one. */
    private Optional<Responses> findSlowest() {
        if (totalUnsent <= bytes / RESPONSE_SHARE || waiting.size() < 2) {
            return Optional.empty();
        }
        long now = System.nanoTime();
        long patience = totalUnsent > 2 * bytes / RESPONSE_SHARE ? 0 : PATIENCE_NANOSECONDS;
        return waiting.stream()
                .filter(responses -> now - responses.progressAt >= patience)
                .max(Comparator.comparingLong(responses -> now - responses.progressAt));
    }
}
