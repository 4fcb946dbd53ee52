package chandra.frontend;

import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.CoalescingBufferQueue;
import java.nio.channels.ClosedChannelException;
import java.util.concurrent.TimeUnit;

/**
 * Sends the bytes of answers as fast as the client reads them, and closes the connection of a
 * client that does not read.
 *
 * <p>Netty copies all that is written into direct memory at once, however slow the client is. Here
 * bytes wait in the heap, where {@link Budget} counts them, and a few kilobytes at a time go on.
 * Each message counts in full until its last byte has gone on: its array is in the heap until then.
 *
 * <p>One for each connection, between the codec and the socket; used by that connection's thread
 * only.
 */
final class SendQueue extends ChannelDuplexHandler {
    /** Bytes that go on at a time, and the least that must be read in each stall timeout. */
    private static final int CHUNK_BYTES = 8 * 1024;

    /** An answer must be read at a rate at which the whole of it would take this long. */
    private static final long MAX_READ_SECONDS = 300;

    private static final long LOOK_MILLISECONDS = 1000;

    private final Budget budget;
    private final long stallSeconds;
    private final RateLimitedLog closed;

    private CoalescingBufferQueue queue;
    private Budget.Answers answers;
    private boolean isLooking;

    /** Bytes to be read in this stall timeout, those that were, and when it began. */
    private long minRead;

    private long numRead;
    private long windowAt;

    SendQueue(Budget budget, long stallSeconds, RateLimitedLog closed) {
        this.budget = budget;
        this.stallSeconds = stallSeconds;
        this.closed = closed;
    }

    @Override
    public void handlerAdded(ChannelHandlerContext context) {
        queue = new CoalescingBufferQueue(context.channel(), 4, false);
        answers =
                budget
                .new Answers(
                        () ->
                                context.executor()
                                        .execute(
                                                () -> close(context, "answers take too much room")));
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (!(message instanceof ByteBuf) || !context.channel().isActive()) {
            context.write(message, promise);
            return;
        }
        ByteBuf bytes = (ByteBuf) message;
        int length = bytes.readableBytes();
        if (answers.length() == 0) {
            beginWindow();
        }
        answers.add(length);
        ChannelPromise whole = promise.unvoid();
        whole.addListener(done -> answers.sent(length));
        queue.add(bytes, whole);
    }

    @Override
    public void flush(ChannelHandlerContext context) {
        send(context);
        if (answers.length() > 0 && !isLooking) {
            isLooking = true;
            look(context);
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
        answers.release();
        context.fireChannelInactive();
    }

    private void send(ChannelHandlerContext context) {
        while (!queue.isEmpty() && context.channel().isWritable()) {
            ChannelPromise promise = context.newPromise();
            ByteBuf chunk = queue.remove(CHUNK_BYTES, promise);
            int length = chunk.readableBytes();
            promise.addListener(done -> read(length));
            context.write(chunk, promise);
        }
        context.flush();
    }

    /** Notes that the client's machine has taken a chunk. */
    private void read(int length) {
        answers.progress();
        numRead += length;
        if (numRead >= minRead) {
            beginWindow();
        }
    }

    private void beginWindow() {
        windowAt = System.nanoTime();
        numRead = 0;
        minRead = Math.max(CHUNK_BYTES, answers.length() * stallSeconds / MAX_READ_SECONDS);
    }

    /** Checks now and then whether the client reads. */
    private void look(ChannelHandlerContext context) {
        long milliseconds =
                Math.min(LOOK_MILLISECONDS, TimeUnit.SECONDS.toMillis(stallSeconds) / 4);
        context.executor()
                .schedule(
                        () -> {
                            isLooking = answers.length() > 0;
                            if (!isLooking) {
                                return;
                            }
                            long nanoseconds = System.nanoTime() - windowAt;
                            if (nanoseconds > TimeUnit.SECONDS.toNanos(stallSeconds)) {
                                close(context, "the client does not read its answer");
                            } else {
                                answers.add(0);
                                look(context);
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
