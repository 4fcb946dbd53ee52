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
 *
 * <p>One for each connection, between the codec and the socket; used by that connection's thread
 * only.
 */
final class SendQueue extends ChannelDuplexHandler {
    /** A client has to read this much in each stall timeout; small, for slow lines. */
    private static final int CHUNK_BYTES = 8 * 1024;

    private static final long LOOK_MILLISECONDS = 1000;
    private static final RateLimitedLog CLOSED = new RateLimitedLog("connection closed");

    private final Budget budget;
    private final long stallNanoseconds;

    private CoalescingBufferQueue queue;
    private Budget.Answers answers;
    private boolean isLooking;

    SendQueue(Budget budget, long stallSeconds) {
        this.budget = budget;
        this.stallNanoseconds = TimeUnit.SECONDS.toNanos(stallSeconds);
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
        answers.add(bytes.readableBytes());
        queue.add(bytes, promise);
    }

    @Override
    public void flush(ChannelHandlerContext context) {
        send(context);
        if (answers.hasUnsent() && !isLooking) {
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
            promise.addListener(done -> answers.sent(length));
            context.write(chunk, promise);
        }
        context.flush();
    }

    /** Checks now and then whether the client reads. */
    private void look(ChannelHandlerContext context) {
        long milliseconds =
                Math.min(LOOK_MILLISECONDS, TimeUnit.NANOSECONDS.toMillis(stallNanoseconds) / 4);
        context.executor()
                .schedule(
                        () -> {
                            isLooking = answers.hasUnsent();
                            if (!isLooking) {
                                return;
                            }
                            if (answers.nanosecondsWithoutProgress() > stallNanoseconds) {
                                close(context, "the client does not read its answer");
                            } else {
                                answers.add(0);
                                look(context);
                            }
                        },
                        milliseconds,
                        TimeUnit.MILLISECONDS);
    }

    private static void close(ChannelHandlerContext context, String reason) {
        CLOSED.add(reason, context.executor());
        context.close();
    }
}
