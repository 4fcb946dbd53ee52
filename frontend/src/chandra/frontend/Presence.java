package chandra.frontend;

import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.socket.ChannelInputShutdownEvent;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.concurrent.Future;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;

/**
 * Whether a connection's client is still there. One that is not, or has had nothing to say for
 * long, has its connection closed, which {@link Admission} notices.
 *
 * <p>A client that has closed its connection, and one that has only said that it will send no
 * more, look alike: nothing comes any more. They differ in what they do with what is sent to
 * them, so they are sent what no client minds: 100 Continue before an answer, and in the middle
 * of a stream a zero before the next chunk's size. Who has left resets the connection; who waits
 * gets the answer.
 *
 * <p>The first to see a connection's messages; used by that connection's thread only.
 */
final class Presence extends ChannelDuplexHandler {
    private static final String NOTHING_YET = "HTTP/1.1 100 Continue\r\n\r\n";
    private static final String NO_CHUNK_YET = "0";

    /** The first is answered with a reset, the second finds it; sizes may not grow for ever. */
    private static final int MAX_ZEROS = 2;

    /** Most of what is answered at once is not asked about. */
    private static final long FIRST_MILLISECONDS = 250;

    /** Longer and longer in between: some clients have enough of it after a few. */
    private static final long MAX_MILLISECONDS = 16_000;

    private final long idleSeconds;

    private int numUnanswered;
    private boolean isReceiving;
    private boolean isAnswering;

    /** Whether some chunks of an answer were sent, and others will be. */
    private boolean isStreaming;

    private int numZeros;

    /** Whether the client has said that it will send no more. */
    private boolean isSilent;

    /** Whether its version of HTTP knows of answers that are none yet. */
    private boolean canBeAsked;

    /** Until the next request has begun; one that is on its way has no end here. */
    private Future<?> end;

    Presence(long idleSeconds) {
        this.idleSeconds = idleSeconds;
    }

    @Override
    public void handlerAdded(ChannelHandlerContext context) {
        waitForRequest(context);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        end.cancel(false);
        context.fireChannelInactive();
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (message instanceof HttpRequest) {
            end.cancel(false);
            numUnanswered += 1;
            isReceiving = true;
            HttpVersion version = ((HttpRequest) message).protocolVersion();
            canBeAsked = version.compareTo(HttpVersion.HTTP_1_1) >= 0;
        }
        if (message instanceof LastHttpContent) {
            isReceiving = false;
        }
        context.fireChannelRead(message);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (!Turns.isInterim(message)) {
            if (message instanceof HttpResponse) {
                isAnswering = true;
                isStreaming = HttpUtil.isTransferEncodingChunked((HttpResponse) message);
            }
            isStreaming = isStreaming && !(message instanceof LastHttpContent);
            if (message instanceof LastHttpContent) {
                promise = promise.unvoid();
                promise.addListener(done -> answered(context));
            }
        }
        context.write(message, promise);
    }

    @Override
    public void userEventTriggered(ChannelHandlerContext context, Object event) {
        if (event == ChannelInputShutdownEvent.INSTANCE) {
            isSilent = true;
            if (isReceiving || numUnanswered == 0) {
                context.close();
            } else {
                askAfter(context, FIRST_MILLISECONDS);
            }
        }
        context.fireUserEventTriggered(event);
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
        if (cause instanceof IOException) {
            context.close();
        } else {
            context.fireExceptionCaught(cause);
        }
    }

    private void answered(ChannelHandlerContext context) {
        isAnswering = false;
        // What is no HTTP is answered too, and was no request.
        numUnanswered = Math.max(0, numUnanswered - 1);
        if (isReceiving || numUnanswered > 0 || !context.channel().isActive()) {
            return;
        }
        if (isSilent) {
            context.close();
        } else {
            end.cancel(false);
            waitForRequest(context);
        }
    }

    private void waitForRequest(ChannelHandlerContext context) {
        end = context.executor().schedule(() -> context.close(), idleSeconds, TimeUnit.SECONDS);
    }

    /** Past the codec, which would count it as the answer. */
    private static void send(ChannelHandlerContext context, String text) {
        context.pipeline()
                .context("http")
                .writeAndFlush(Unpooled.copiedBuffer(text, StandardCharsets.US_ASCII));
    }

    private void askAfter(ChannelHandlerContext context, long milliseconds) {
        context.executor()
                .schedule(() -> ask(context, milliseconds), milliseconds, TimeUnit.MILLISECONDS);
    }

    private void ask(ChannelHandlerContext context, long waited) {
        if (!context.channel().isActive()) {
            return;
        }
        if (canBeAsked && !isAnswering) {
            send(context, NOTHING_YET);
        } else if (isStreaming && numZeros < MAX_ZEROS) {
            numZeros += 1;
            send(context, NO_CHUNK_YET);
        }
        askAfter(context, Math.min(2 * waited, MAX_MILLISECONDS));
    }
}
