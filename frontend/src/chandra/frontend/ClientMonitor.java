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
 * Detector of disconnected and idle clients of one connection. It closes the connection, which
 * {@link Admission} handles.
 *
 * <p>A client that has closed its connection cannot be told from one that has only shut down its
 * sending side: both send nothing more. They respond differently to data, so they are sent data
 * that every client accepts: 100 Continue before a response, and within a stream a leading zero of
 * the next chunk size. The kernel of a disconnected client resets the connection, and a waiting
 * client receives the response.
 *
 * <p>The first handler in the pipeline after the codec. Not thread-safe: only the event loop of the
 * connection uses it.
 */
final class ClientMonitor extends ChannelDuplexHandler {
    private static final String CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
    private static final String CHUNK_SIZE_ZERO = "0";

    /**
     * Maximum number of leading zeros: the first causes a reset, and sending the second detects it.
     */
    private static final int MAX_ZEROS = 2;

    /** Delay before the first probe. Most responses are sent before it. */
    private static final long FIRST_MILLISECONDS = 250;

    /** Maximum interval. Intervals double, because some clients accept few interim responses. */
    private static final long MAX_MILLISECONDS = 16_000;

    private final long idleSeconds;

    private int numUnanswered;
    private boolean isReceiving;
    private boolean isResponding;

    /** True while a chunked response is being sent. */
    private boolean isStreaming;

    private int numZeros;

    /** True if the client has shut down its sending side. */
    private boolean isHalfClosed;

    /** True if the client's HTTP version has interim responses. */
    private boolean canBeProbed;

    /** Timeout of an idle connection. It is cancelled while a request is in progress. */
    private Future<?> idleTimeout;

    ClientMonitor(long idleSeconds) {
        this.idleSeconds = idleSeconds;
    }

    @Override
    public void handlerAdded(ChannelHandlerContext context) {
        waitForRequest(context);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        idleTimeout.cancel(false);
        context.fireChannelInactive();
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (message instanceof HttpRequest) {
            idleTimeout.cancel(false);
            numUnanswered += 1;
            isReceiving = true;
            HttpVersion version = ((HttpRequest) message).protocolVersion();
            canBeProbed = version.compareTo(HttpVersion.HTTP_1_1) >= 0;
        }
        if (message instanceof LastHttpContent) {
            isReceiving = false;
        }
        context.fireChannelRead(message);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (!RequestQueue.isInterim(message)) {
            if (message instanceof HttpResponse) {
                isResponding = true;
                isStreaming = HttpUtil.isTransferEncodingChunked((HttpResponse) message);
            }
            isStreaming = isStreaming && !(message instanceof LastHttpContent);
            if (message instanceof LastHttpContent) {
                promise = promise.unvoid();
                promise.addListener(done -> finishRequest(context));
            }
        }
        context.write(message, promise);
    }

    @Override
    public void userEventTriggered(ChannelHandlerContext context, Object event) {
        if (event == ChannelInputShutdownEvent.INSTANCE) {
            isHalfClosed = true;
            if (isReceiving || numUnanswered == 0) {
                context.close();
            } else {
                probeAfter(context, FIRST_MILLISECONDS);
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

    private void finishRequest(ChannelHandlerContext context) {
        isResponding = false;
        // Input that is not HTTP gets a response too, but was not counted as a request.
        numUnanswered = Math.max(0, numUnanswered - 1);
        if (isReceiving || numUnanswered > 0 || !context.channel().isActive()) {
            return;
        }
        if (isHalfClosed) {
            context.close();
        } else {
            idleTimeout.cancel(false);
            waitForRequest(context);
        }
    }

    private void waitForRequest(ChannelHandlerContext context) {
        idleTimeout =
                context.executor()
                        .schedule(() -> context.close(), idleSeconds, TimeUnit.SECONDS);
    }

    /** Writes below the codec, which would otherwise count the text as the response. */
    private static void send(ChannelHandlerContext context, String text) {
        context.pipeline()
                .context("http")
                .writeAndFlush(Unpooled.copiedBuffer(text, StandardCharsets.US_ASCII));
    }

    private void probeAfter(ChannelHandlerContext context, long milliseconds) {
        context.executor()
                .schedule(() -> probe(context, milliseconds), milliseconds, TimeUnit.MILLISECONDS);
    }

    private void probe(ChannelHandlerContext context, long waited) {
        if (!context.channel().isActive()) {
            return;
        }
        if (canBeProbed && !isResponding) {
            send(context, CONTINUE);
        } else if (isStreaming && numZeros < MAX_ZEROS) {
            numZeros += 1;
            send(context, CHUNK_SIZE_ZERO);
        }
        probeAfter(context, Math.min(2 * waited, MAX_MILLISECONDS));
    }
}
