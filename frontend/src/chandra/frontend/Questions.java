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
 * Passes on the few GET requests that the management and the metrics address are for.
 *
 * <p>TorchServe answers more there than is needed, and one question stops it: it puts a request for
 * customized metadata back into its queue and sends it to the worker again, for ever, ahead of
 * every document.
 */
@Sharable
final class Questions extends ChannelInboundHandlerAdapter {
    private static final Pattern MANAGEMENT = Pattern.compile("/models/chandra");
    private static final Pattern METRICS = Pattern.compile("/metrics(\\?.*)?");

    /** The rest of a refused request is read for so long, so that the client sees the answer. */
    private static final long LINGER_SECONDS = 10;

    private final Hosts hosts;
    private final Pattern targets;
    private final RateLimitedLog refusals;

    /** Creates a filter that prepares the connections of a server of the given type. */
    Questions(ConfigManager config, Hosts hosts, ConnectorType type) {
        this.hosts = hosts;
        targets = type == ConnectorType.METRICS_CONNECTOR ? METRICS : MANAGEMENT;
        refusals = new RateLimitedLog("request refused", config);
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        ((Channel) message).pipeline().addFirst(new Arrival());
        context.fireChannelRead(message);
    }

    /** Returns why a request is refused; null where it is not. */
    private Refusal refusal(HttpRequest request) {
        if (request.decoderResult().isFailure()
                || request.protocolVersion().majorVersion() != 1) {
            return Refusal.MALFORMED;
        }
        Refusal refusal = hosts.refusal(request);
        if (refusal != null) {
            return refusal;
        }
        // The bytes as they came: nothing is decoded here that TorchServe might decode otherwise.
        String target = request.uri();
        if (!targets.matcher(target).matches()) {
            int end = target.indexOf('?');
            return end >= 0 && targets.matcher(target.substring(0, end)).matches()
                    ? Refusal.malformed("no parameters are taken here")
                    : Refusal.notFound("there is nothing at this address");
        }
        if (!request.method().equals(HttpMethod.GET)) {
            return Refusal.notAllowed(List.of(HttpMethod.GET));
        }
        boolean hasBody =
                request.headers().contains(HttpHeaderNames.TRANSFER_ENCODING)
                        || request.headers().getAll(HttpHeaderNames.CONTENT_LENGTH).stream()
                                .anyMatch(length -> !length.equals("0"));
        return hasBody ? Refusal.malformed("no body is taken here") : null;
    }

    /** Adds the filter once TorchServe has given a connection its handlers. */
    private final class Arrival extends ChannelInboundHandlerAdapter {
        @Override
        public void channelActive(ChannelHandlerContext context) {
            // TorchServe has closed connections be reset, with what was not yet sent.
            context.channel().config().setOption(ChannelOption.SO_LINGER, -1);
            context.pipeline()
                    .addAfter("http", "turns", new Turns())
                    .addAfter("turns", "questions", new Filter());
            context.pipeline().remove(this);
            context.fireChannelActive();
        }
    }

    private final class Filter extends ChannelInboundHandlerAdapter {
        private boolean isRefused;

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            if (!isRefused && message instanceof HttpRequest) {
                Refusal refusal = refusal((HttpRequest) message);
                if (refusal != null) {
                    isRefused = true;
                    refusals.add(refusal.toString(), context.executor());
                    context.writeAndFlush(refusal.response());
                    context.executor()
                            .schedule(() -> context.close(), LINGER_SECONDS, TimeUnit.SECONDS);
                }
            }
            if (!isRefused) {
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
