package chandra.frontend;

import io.netty.buffer.ByteBufHolder;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import java.util.ArrayDeque;

/**
 * Queue that serialises pipelined requests on one connection.
 *
 * <p>TorchServe responds to each request as soon as it is finished. A client that sends the next
 * request early would take its response for that of the first one.
 *
 * <p>It also closes the connection after the response if the client asks for it, which TorchServe
 * does not do, and after a chunked body, because a proxy may disagree on where the body ended.
 */
final class RequestQueue extends ChannelDuplexHandler {
    /** Maximum bytes received ahead. Beyond this, reading pauses until a response is sent. */
    private static final int MAX_AHEAD_BYTES = 64 * 1024;

    /** Size counted for each message in addition to its body. */
    private static final int MESSAGE_BYTES = 1024;

    /** Messages received ahead. */
    private final ArrayDeque<Object> waiting = new ArrayDeque<>();

    private int aheadBytes;

    /** True while the body of the current request is being received. */
    private boolean isReceiving;

    private boolean isAwaitingResponse;
    private boolean isKeptAlive = true;
    private boolean isForwarding;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        waiting.add(message);
        aheadBytes += countBytes(message);
        forward(context);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        boolean isInterim = isInterim(message);
        if (message instanceof HttpResponse && !isInterim && !isKeptAlive) {
            ((HttpResponse) message)
                    .headers()
                    .set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE);
        }
        if (message instanceof LastHttpContent && !isInterim) {
            promise = promise.unvoid();
            promise.addListener(done -> finishRequest(context));
        }
        context.write(message, promise);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        waiting.forEach(ReferenceCountUtil::release);
        waiting.clear();
        context.fireChannelInactive();
    }

    /** True for an interim response such as 100 Continue. */
    static boolean isInterim(Object message) {
        return message instanceof HttpResponse
                && ((HttpResponse) message).status().codeClass() == HttpStatusClass.INFORMATIONAL;
    }

    private void finishRequest(ChannelHandlerContext context) {
        isAwaitingResponse = false;
        if (!isKeptAlive && !isReceiving) {
            context.close();
        } else {
            forward(context);
        }
    }

    private void forward(ChannelHandlerContext context) {
        // A response may be sent while its request is being forwarded. Avoid recursion: the outer
        // loop continues.
        if (isForwarding) {
            return;
        }
        isForwarding = true;
        while (!waiting.isEmpty() && (isReceiving || !isAwaitingResponse)) {
            Object message = waiting.poll();
            aheadBytes -= countBytes(message);
            if (message instanceof HttpRequest) {
                isAwaitingResponse = true;
                isReceiving = true;
                HttpRequest request = (HttpRequest) message;
                // The header Connection of a malformed request is unknown; Admission closes it.
                isKeptAlive =
                        request.decoderResult().isFailure()
                                || HttpUtil.isKeepAlive(request)
                                        && !HttpUtil.isTransferEncodingChunked(request);
            }
            isReceiving = isReceiving && !(message instanceof LastHttpContent);
            context.fireChannelRead(message);
        }
        isForwarding = false;
        // Keep reading otherwise, in order to notice that a client disconnects.
        context.channel().config().setAutoRead(aheadBytes < MAX_AHEAD_BYTES);
    }

    private static int countBytes(Object message) {
        return message instanceof ByteBufHolder
                ? MESSAGE_BYTES + ((ByteBufHolder) message).content().readableBytes()
                : MESSAGE_BYTES;
    }
}
