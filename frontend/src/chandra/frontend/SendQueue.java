package chandra.frontend;

import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.CoalescingBufferQueue;
import java.nio.channels.ClosedChannelException;
import java.util.concurrent.TimeUnit;

/**
 * Back-pressure for responses: sends bytes as fast as the client reads them, and closes the
 * connection of a client that does not read.
 *
 * <p>Netty immediately copies all written bytes to direct memory, however slowly the client reads.
 * This queue keeps bytes in the heap, where {@link Budget} counts them, and passes on a few
 * kilobytes at a time. A message counts in full until its last byte is passed on, because its array
 * stays in the heap until then.
 *
 * <p>Each connection has one, between the codec and the socket. Not thread-safe: only the event
 * loop of the connection uses it.
 */
final class SendQueue extends ChannelDuplexHandler {
    /** Bytes passed on at a time, and the minimum that must be read in each stall timeout. */
    private static final int CHUNK_BYTES = 8 * 1024;

    /** The minimum read rate is the length of the unsent responses divided by this time. */
    private static final long MAX_READ_SECONDS = 300;

    private static final long CHECK_MILLISECONDS = 1000;

    private final Budget budget;
    private final long stallSeconds;
    private final RateLimitedLog closed;

    private CoalescingBufferQueue queue;
    private Budget.Responses responses;
    private boolean isChecking;

    /** Minimum number of bytes to be read in the current stall timeout. */
    private long minRead;

    /** Bytes read in the current stall timeout. */
    private long numRead;

    /** Start of the current stall timeout. */
    private long windowAt;

    SendQueue(Budget budget, long stallSeconds, RateLimitedLog closed) {
        this.budget = budget;
        this.stallSeconds = stallSeconds;
        this.closed = closed;
    }

    @Override
    public void handlerAdded(ChannelHandlerContext context) {
        queue = new CoalescingBufferQueue(context.channel(), 4, false);
        responses =
                budget
                .new Responses(
                        () ->
                                context.executor()
                                        .execute(
                                                () ->
                                                        close(
                                                                context,
                                                                "unsent responses take too"
                                                                        + " much memory")));
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (!(message instanceof ByteBuf) || !context.channel().isActive()) {
            context.write(message, promise);
            return;
        }
        ByteBuf bytes = (ByteBuf) message;
        int length = bytes.readableBytes();
        if (responses.length() == 0) {
            beginWindow();
        }
        responses.add(length);
        ChannelPromise whole = promise.unvoid();
        whole.addListener(done -> responses.sent(length));
        queue.add(bytes, whole);
    }

    @Override
    public void flush(ChannelHandlerContext context) {
        send(context);
        if (responses.length() > 0 && !isChecking) {
            isChecking = true;
            checkProgress(context);
        }
    }

    @Override
    public void channelWritabilityChanged(ChannelHandlerContext context) {
        send(context);
        context.fireChannelWritabilityChanged();
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        queue.releaseAndFailAll(new ClosedChannelException());
        responses.release();
        context.fireChannelInactive();
    }

    private void send(ChannelHandlerContext context) {
        while (!queue.isEmpty() && context.channel().isWritable()) {
            ChannelPromise promise = context.newPromise();
            ByteBuf chunk = queue.remove(CHUNK_BYTES, promise);
            int length = chunk.readableBytes();
            promise.addListener(done -> recordProgress(length));
            context.write(chunk, promise);
        }
        context.flush();
    }

    /** Records that the client has received a chunk. */
    private void recordProgress(int length) {
        responses.progress();
        numRead += length;
        if (numRead >= minRead) {
            beginWindow();
        }
    }

    private void beginWindow() {
        windowAt = System.nanoTime();
        numRead = 0;
        minRead = Math.max(CHUNK_BYTES, responses.length() * stallSeconds / MAX_READ_SECONDS);
    }

    /** Checks periodically whether the client reads. */
    private void checkProgress(ChannelHandlerContext context) {
        long milliseconds =
                Math.min(CHECK_MILLISECONDS, TimeUnit.SECONDS.toMillis(stallSeconds) / 4);
        context.executor()
                .schedule(
                        () -> {
                            isChecking = responses.length() > 0;
                            if (!isChecking) {
                                return;
                            }
                            long nanoseconds = System.nanoTime() - windowAt;
                            if (nanoseconds > TimeUnit.SECONDS.toNanos(stallSeconds)) {
                                close(context, "the client does not read its response");
                            } else {
                                responses.add(0);
                                checkProgress(context);
                            }
                        },
                        milliseconds,
                        TimeUnit.MILLISECONDS);
    }

    private void close(ChannelHandlerContext context, String reason) {
        closed.add(reason, context.executor());
        context.close();
    }
}
