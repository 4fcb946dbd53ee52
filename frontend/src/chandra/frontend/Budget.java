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
 * Limits the memory that Java spends on the bodies of open requests and on answers not yet sent.
 *
 * <p>Java holds a body as it came, and copies of it on its way to the worker. The container plans
 * memory for copies of bodies of a usual size; larger ones count for the rest.
 *
 * <p>An upload reserves the bytes that have arrived and a window ahead of them, so that a client
 * that announces much and sends little takes little; the window grows with what has arrived. When uploads outgrow the budget together, the
 * newest one is refused, so that older ones can finish.
 *
 * <p>Answers wait here for clients that read slowly. When they take more than their share, clients
 * that have read nothing for longest lose their connections. Thread-safe.
 */
final class Budget {
    private static final long MIB = 1L << 20;
    private static final int COPIES = 3;

    /** The part of the budget that answers may take while their clients do not read them. */
    private static final int ANSWERS_SHARE = 4;

    /** A client that has read something in this time is spared, up to twice that share. */
    private static final long PATIENCE_NANOSECONDS = TimeUnit.SECONDS.toNanos(5);

    /** Bytes of a body that are reserved before they arrive: as many as have, within these. */
    private static final long MIN_WINDOW_BYTES = 64 * 1024;

    private static final long MAX_WINDOW_BYTES = 4 * MIB;

    private final long bytes;
    private final long usualBytes;

    /** Uploads that may still grow, in the order they began. */
    private final Deque<Claim> growing = new ArrayDeque<>();

    private long claimed;

    /** The part of {@code claimed} whose uploads have been told to end. */
    private long leaving;

    /** Connections with answers that their clients have not taken yet. */
    private final Set<Answers> waiting = new HashSet<>();

    private long unsent;

    Budget(ConfigManager config) {
        bytes = Long.parseLong(config.getProperty("chandra_body_budget_mb", "1792")) * MIB;
        usualBytes = Long.parseLong(config.getProperty("chandra_body_usual_mb", "0")) * MIB;
    }

    private boolean fits(long more) {
        return claimed - leaving + unsent + more <= bytes;
    }

    private static long withWindow(long received, long announced) {
        long window = Math.min(MAX_WINDOW_BYTES, Math.max(MIN_WINDOW_BYTES, received));
        return Math.min(announced, received + window);
    }

    /** The share of one request. */
    final class Claim {
        /** False for a request without a body, whose answer comes in its turn. */
        final boolean isDocument;

        private final Runnable evict;
        private long taken;
        private boolean isEvicted;

        /** {@code evict} is called at most once, by any thread, when the upload has to end. */
        Claim(boolean isDocument, Runnable evict) {
            this.isDocument = isDocument;
            this.evict = evict;
        }

        /** Reserves the first window of a body; false where there is no room for it now. */
        boolean begin(long announced) {
            synchronized (Budget.this) {
                growing.add(this);
                boolean hasRoom = take(withWindow(0, announced));
                if (!hasRoom) {
                    growing.remove(this);
                }
                return hasRoom;
            }
        }

        /** Reserves what has arrived and the next window; false where the upload has to end. */
        boolean grow(long received, long announced) {
            return take(withWindow(received, announced));
        }

        /** Reserves exactly the whole body; false where the upload has to end. */
        boolean complete(long received) {
            // In one step: a body that is complete must not be chosen to make room.
            synchronized (Budget.this) {
                boolean hasRoom = take(received);
                growing.remove(this);
                return hasRoom;
            }
        }

        void release() {
            synchronized (Budget.this) {
                growing.remove(this);
                claimed -= taken;
                if (isEvicted) {
                    leaving -= taken;
                }
                taken = 0;
            }
        }

        /**
         * A request that is alone always has room: it would never have it otherwise. Newer uploads
         * make room for an older one.
         */
        private boolean take(long length) {
            List<Claim> evicted = new ArrayList<>();
            synchronized (Budget.this) {
                if (isEvicted) {
                    return false;
                }
                long cost = length + COPIES * Math.max(0, length - usualBytes);
                long more = cost - taken;
                boolean isAlone = claimed - leaving + unsent <= taken;
                if (more > 0 && !isAlone && !fits(more)) {
                    evicted = newestThatMakeRoom(more);
                    if (evicted.isEmpty()) {
                        return false;
                    }
                }
                for (Claim claim : evicted) {
                    claim.isEvicted = true;
                    leaving += claim.taken;
                    growing.remove(claim);
                }
                claimed += more;
                taken += more;
            }
            evicted.forEach(claim -> claim.evict.run());
            return true;
        }

        /** The newest uploads that are younger than this one; none where they are too few. */
        private List<Claim> newestThatMakeRoom(long more) {
            List<Claim> found = new ArrayList<>();
            long freed = 0;
            for (Iterator<Claim> newest = growing.descendingIterator(); newest.hasNext(); ) {
                Claim claim = newest.next();
                if (claim == this) {
                    break;
                }
                found.add(claim);
                freed += claim.taken;
                if (fits(more - freed)) {
                    return found;
                }
            }
            return List.of();
        }
    }

    /** The answers of one connection; a message counts in full until all of it is sent. */
    final class Answers {
        private final Runnable close;
        private long length;
        private long progressAt;
        private boolean isClosed;

        /** {@code close} is called at most once, by any thread. */
        Answers(Runnable close) {
            this.close = close;
        }

        /** Counts bytes that wait to be sent, and closes connections where there is no room. */
        void add(long more) {
            List<Answers> closed = new ArrayList<>();
            synchronized (Budget.this) {
                if (isClosed) {
                    return;
                }
                if (length == 0) {
                    progressAt = System.nanoTime();
                }
                length += more;
                unsent += more;
                if (length > 0) {
                    waiting.add(this);
                }
                Optional<Answers> slowest = slowest();
                while (slowest.isPresent()) {
                    closed.add(slowest.get());
                    slowest.get().forget();
                    slowest = slowest();
                }
            }
            closed.forEach(answers -> answers.close.run());
        }

        /** Notes that the client's machine has taken some bytes. */
        void progress() {
            synchronized (Budget.this) {
                progressAt = System.nanoTime();
            }
        }

        /** Counts bytes that Java has let go of. */
        void sent(long fewer) {
            synchronized (Budget.this) {
                if (isClosed) {
                    return;
                }
                length -= fewer;
                unsent -= fewer;
                if (length == 0) {
                    waiting.remove(this);
                }
            }
        }

        /** Returns the bytes that are counted. */
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
            unsent -= length;
            length = 0;
            waiting.remove(this);
        }
    }

    /** The client to be closed next; none while there is room, or where there is no other one. */
    private Optional<Answers> slowest() {
        if (unsent <= bytes / ANSWERS_SHARE || waiting.size() < 2) {
            return Optional.empty();
        }
        long now = System.nanoTime();
        long patience = unsent > 2 * bytes / ANSWERS_SHARE ? 0 : PATIENCE_NANOSECONDS;
        return waiting.stream()
                .filter(answers -> now - answers.progressAt >= patience)
                .max(Comparator.comparingLong(answers -> now - answers.progressAt));
    }
}
