package chandra.frontend;

import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelHandler.Sharable;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.EventLoopGroup;
import io.netty.util.internal.logging.InternalLoggerFactory;
import io.netty.util.internal.logging.Slf4JLoggerFactory;
import java.io.IOException;
import java.security.GeneralSecurityException;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.ParseException;
import org.pytorch.serve.ModelServer;
import org.pytorch.serve.metrics.MetricCache;
import org.pytorch.serve.servingsdk.impl.PluginsManager;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.Connector;
import org.pytorch.serve.util.ConnectorType;
import org.pytorch.serve.util.TokenAuthorization;
import org.pytorch.serve.wlm.CrashSafeBatching;

/** TorchServe's main class with admission control and connection handling, and without gRPC. */
public final class Server extends ModelServer {
    private final ConfigManager config;

    private Server(ConfigManager config) {
        super(config);
        this.config = config;
    }

    /** Starts the server, with the arguments of TorchServe's own main class. */
    public static void main(String[] arguments) {
        int status = 1;
        try {
            CommandLine line =
                    new DefaultParser().parse(ConfigManager.Arguments.getOptions(), arguments);
            ConfigManager.init(new ConfigManager.Arguments(line));
            TokenAuthorization.init();
            PluginsManager.getInstance().initialize();
            MetricCache.init();
            InternalLoggerFactory.setDefaultFactory(Slf4JLoggerFactory.INSTANCE);
            Server server = new Server(ConfigManager.getInstance());
            Runtime.getRuntime().addShutdownHook(new Thread(server::stop));
            server.startAndWait();
            status = 0;
        } catch (IllegalArgumentException | ParseException e) {
            System.out.println("Exception in configuration: " + e.getMessage());
        } catch (Throwable e) {
            e.printStackTrace();
        } finally {
            System.exit(status);
        }
    }

    @Override
    public ChannelFuture initializeServer(
            Connector connector,
            EventLoopGroup serverGroup,
            EventLoopGroup workerGroup,
            ConnectorType type)
            throws InterruptedException, IOException, GeneralSecurityException {
        // The workers exist by now, and no request has arrived yet.
        CrashSafeBatching.install();
        ChannelFuture closed =
                super.initializeServer(connector, serverGroup, workerGroup, type);
        HostValidator hosts = new HostValidator(config, connector.getSocketAddress());
        boolean isManagement =
                type == ConnectorType.MANAGEMENT_CONNECTOR
                        || type == ConnectorType.METRICS_CONNECTOR;
        if (!isManagement) {
            QueueWithoutWorker.watch();
        }
        closed.channel()
                .pipeline()
                .addFirst(
                        isManagement
                                ? new ManagementFilter(config, hosts, type)
                                : new ConnectionSetup(config, hosts));
        return closed;
    }

    /**
     * Does not start gRPC, because its requests bypass {@link Admission}, and a streamed call whose
     * response is not a stream ends the worker and all open requests.
     */
    @Override
    public void startGRPCServers() {
        // Nothing listens on grpc_inference_port and grpc_management_port.
    }

    /** Adds our handlers to new connections of the inference address. */
    @Sharable
    private static final class ConnectionSetup extends ChannelInboundHandlerAdapter {
        private final RequestValidator validator;
        private final Budget budget;
        private final String folder;
        private final int stallSeconds;
        private final int idleSeconds;
        private final RateLimitedLog rejections;
        private final RateLimitedLog closed;

        ConnectionSetup(ConfigManager config, HostValidator hosts) {
            validator = new RequestValidator(config, hosts);
            budget = new Budget(config);
            folder = config.getProperty("chandra_state_dir", "");
            stallSeconds = Integer.parseInt(config.getProperty("chandra_stall_seconds", "60"));
            idleSeconds = Integer.parseInt(config.getProperty("chandra_idle_seconds", "600"));
            rejections = new RateLimitedLog("request refused", config);
            closed = new RateLimitedLog("connection closed", config);
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            ((Channel) message).pipeline().addFirst(new Setup());
            context.fireChannelRead(message);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            AcceptFailures.report(cause);
            context.fireExceptionCaught(cause);
        }

        private final class Setup extends ChannelInboundHandlerAdapter {
            @Override
            public void channelActive(ChannelHandlerContext context) {
                // TorchServe sets SO_LINGER to 0, which discards unsent data when a connection
                // closes.
                context.channel().config().setOption(ChannelOption.SO_LINGER, -1);
                // Without half-closure, netty closes connections whose client shuts down its
                // sending side.
                context.channel().config().setOption(ChannelOption.ALLOW_HALF_CLOSURE, true);
                // TorchServe has added its codec under the name "http" by now.
                context.pipeline()
                        .addBefore(
                                "http", "send-queue", new SendQueue(budget, stallSeconds, closed))
                        .addAfter("http", "client-monitor", new ClientMonitor(idleSeconds))
                        .addAfter("client-monitor", "request-queue", new RequestQueue())
                        .addAfter(
                                "request-queue",
                                "admission",
                                new Admission(
                                        validator, budget, folder, stallSeconds, rejections));
                context.pipeline().remove(this);
                context.fireChannelActive();
            }
        }
    }
}
