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
 * One request of a connection after the other. TorchServe answers each when it is done, and a
 * client that sends the next one early would take its answer for the first one's.
 *
 * <p>And closes after the answer where the client says so, which TorchServe does not; and where a
 * body came in chunks, because others may not agree on where it ended.
 */
final class Turns extends ChannelDuplexHandler {
    /** Who sends more ahead than this is not listened to until an answer is there. */
    private static final int MAX_AHEAD_BYTES = 64 * 1024;

    /** What any message counts, beside the bytes of a body that it holds. */
    private static final int MESSAGE_BYTES = 1024;

    /** What came before its turn. */
    private final ArrayDeque<Object> waiting = new ArrayDeque<>();

    private int aheadBytes;

    /** Of the request whose turn it is, the body is on its way. */
    private boolean isReceiving;

    private boolean isUnanswered;
    private boolean isKeptAlive = true;
    private boolean isPassing;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        waiting.add(message);
        aheadBytes += size(message);
        passOn(context);
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
            promise.addListener(done -> answered(context));
        }
        context.write(message, promise);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        waiting.forEach(ReferenceCountUtil::release);
        waiting.clear();
        context.fireChannelInactive();
    }

    /** Whether it is no answer yet: 100 Continue. */
    static boolean isInterim(Object message) {
        return message instanceof HttpResponse
                && ((HttpResponse) message).status().codeClass() == HttpStatusClass.INFORMATIONAL;
    }

    private void answered(ChannelHandlerContext context) {
        isUnanswered = false;
        if (!isKeptAlive && !isReceiving) {
            context.close();
        } else {
            passOn(context);
        }
    }

    private void passOn(ChannelHandlerContext context) {
        // An answer may come while its request is passed on: no deeper, once more around.
        if (isPassing) {
            return;
        }
        isPassing = true;
        while (!waiting.isEmpty() && (isReceiving || !isUnanswered)) {
            Object message = waiting.poll();
            aheadBytes -= size(message);
            if (message instanceof HttpRequest) {
                isUnanswered = true;
                isReceiving = true;
                HttpRequest request = (HttpRequest) message;
                // Of what cannot be read, this cannot be either.
                isKeptAlive =
                        request.decoderResult().isFailure()
                                || HttpUtil.isKeepAlive(request)
                                        && !HttpUtil.isTransferEncodingChunked(request);
            }
            isReceiving = isReceiving && !(message instanceof LastHttpContent);
            context.fireChannelRead(message);
        }
        isPassing = false;
        // Of all others we want to see them leave.
        context.channel().config().setAutoRead(aheadBytes < MAX_AHEAD_BYTES);
    }

    private static int size(Object message) {
        return message instanceof ByteBufHolder
                ? MESSAGE_BYTES + ((ByteBufHolder) message).content().readableBytes()
                : MESSAGE_BYTES;
    }
}
