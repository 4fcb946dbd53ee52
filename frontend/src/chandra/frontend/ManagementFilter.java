package chandra.frontend;

import io.netty.channel.Channel;
import io.netty.channel.ChannelHandler.Sharable;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.ConnectorType;

/**
 * Filter that lets through the few GET requests needed on the management and the metrics address.
 *
 * <p>TorchServe supports more requests there, and one of them stops it: it puts a request for
 * customized metadata back at the front of its queue and sends it to the worker forever.
 */
@Sharable
final class ManagementFilter extends ChannelInboundHandlerAdapter {
    private static final Pattern MANAGEMENT = Pattern.compile("/models/chandra");
    private static final Pattern METRICS = Pattern.compile("/metrics(\\?.*)?");

    /**
     * Time for which the rest of a rejected request is read, so that the client sees the response.
     */
    private static final long LINGER_SECONDS = 10;

    private final HostValidator hosts;
    private final Pattern targets;
    private final RateLimitedLog rejections;

    /** Creates a filter for the connections of a server of the given type. */
    ManagementFilter(ConfigManager config, HostValidator hosts, ConnectorType type) {
        this.hosts = hosts;
        targets = type == ConnectorType.METRICS_CONNECTOR ? METRICS : MANAGEMENT;
        rejections = new RateLimitedLog("request refused", config);
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        ((Channel) message).pipeline().addFirst(new Setup());
        context.fireChannelRead(message);
    }

    /** Returns the reason to reject a request; null if it is allowed. */
    private Rejection validate(HttpRequest request) {
        if (request.decoderResult().isFailure()
                || request.protocolVersion().majorVersion() != 1) {
            return Rejection.MALFORMED;
        }
        Rejection rejection = hosts.validate(request);
        if (rejection != null) {
            return rejection;
        }
        // Compare the raw bytes, because TorchServe might decode them differently.
        String target = request.uri();
        if (!targets.matcher(target).matches()) {
            int end = target.indexOf('?');
            return end >= 0 && targets.matcher(target.substring(0, end)).matches()
                    ? Rejection.malformed("parameters are not supported here")
                    : Rejection.notFound("there is no such path");
        }
        if (!request.method().equals(HttpMethod.GET)) {
            return Rejection.notAllowed(List.of(HttpMethod.GET));
        }
        boolean hasBody =
                request.headers().contains(HttpHeaderNames.TRANSFER_ENCODING)
                        || request.headers().getAll(HttpHeaderNames.CONTENT_LENGTH).stream()
                                .anyMatch(length -> !length.equals("0"));
        return hasBody ? Rejection.malformed("a request body is not supported here") : null;
    }

    /** Adds the filter after TorchServe has set up the handlers of a connection. */
    private final class Setup extends ChannelInboundHandlerAdapter {
        @Override
        public void channelActive(ChannelHandlerContext context) {
            // TorchServe sets SO_LINGER to 0, which discards unsent data when a connection closes.
            context.channel().config().setOption(ChannelOption.SO_LINGER, -1);
            context.pipeline()
                    .addAfter("http", "request-queue", new RequestQueue())
                    .addAfter("request-queue", "management-filter", new Filter());
            context.pipeline().remove(this);
            context.fireChannelActive();
        }
    }

    private final class Filter extends ChannelInboundHandlerAdapter {
        private boolean isRejected;

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            if (!isRejected && message instanceof HttpRequest) {
                Rejection rejection = validate((HttpRequest) message);
                if (rejection != null) {
                    isRejected = true;
                    rejections.add(rejection.toString(), context.executor());
                    context.writeAndFlush(rejection.response());
                    context.executor()
                            .schedule(() -> context.close(), LINGER_SECONDS, TimeUnit.SECONDS);
                }
            }
            if (!isRejected) {
                context.fireChannelRead(message);
                return;
            }
            ReferenceCountUtil.release(message);
            if (message instanceof LastHttpContent) {
                context.close();
            }
        }
    }
}
