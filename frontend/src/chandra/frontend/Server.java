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

/** TorchServe, with a look at every request before TorchServe sees it, and without gRPC. */
public final class Server extends ModelServer {
    private final ConfigManager config;

    private Server(ConfigManager config) {
        super(config);
        this.config = config;
    }

    /** Takes the arguments of TorchServe's own main class, and does what it does. */
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
        ChannelFuture closed =
                super.initializeServer(connector, serverGroup, workerGroup, type);
        Hosts hosts = new Hosts(config, connector.getSocketAddress());
        boolean isForQuestions =
                type == ConnectorType.MANAGEMENT_CONNECTOR
                        || type == ConnectorType.METRICS_CONNECTOR;
        closed.channel()
                .pipeline()
                .addFirst(
                        isForQuestions
                                ? new Questions(config, hosts, type)
                                : new Arrivals(config, hosts));
        return closed;
    }

    /**
     * Starts no gRPC: it reads documents past {@link Admission}, and a streamed call ends the
     * worker, with everybody's documents, where the answer is not a stream.
     */
    @Override
    public void startGRPCServers() {
        // Nothing listens on grpc_inference_port and grpc_management_port.
    }

    /** Sees connections as they come, before TorchServe has given them their handlers. */
    @Sharable
    private static final class Arrivals extends ChannelInboundHandlerAdapter {
        private final Gate gate;
        private final Budget budget;
        private final String folder;
        private final int stallSeconds;
        private final int idleSeconds;
        private final RateLimitedLog refusals;
        private final RateLimitedLog closed;

        Arrivals(ConfigManager config, Hosts hosts) {
            gate = new Gate(config, hosts);
            budget = new Budget(config);
            folder = config.getProperty("chandra_state_dir", "");
            stallSeconds = Integer.parseInt(config.getProperty("chandra_stall_seconds", "60"));
            idleSeconds = Integer.parseInt(config.getProperty("chandra_idle_seconds", "600"));
            refusals = new RateLimitedLog("request refused", config);
            closed = new RateLimitedLog("connection closed", config);
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            ((Channel) message).pipeline().addFirst(new Arrival());
            context.fireChannelRead(message);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            AcceptFailures.report(cause);
            context.fireExceptionCaught(cause);
        }

        private final class Arrival extends ChannelInboundHandlerAdapter {
            @Override
            public void channelActive(ChannelHandlerContext context) {
                // TorchServe has closed connections be reset, with what was not yet sent.
                context.channel().config().setOption(ChannelOption.SO_LINGER, -1);
                // And those be closed on which the client says that it sends no more.
                context.channel().config().setOption(ChannelOption.ALLOW_HALF_CLOSURE, true);
                // By now, what TorchServe calls "http" turns bytes into messages.
                context.pipeline()
                        .addBefore(
                                "http", "sending", new SendQueue(budget, stallSeconds, closed))
                        .addAfter("http", "presence", new Presence(idleSeconds))
                        .addAfter("presence", "turns", new Turns())
                        .addAfter(
                                "turns",
                                "admission",
                                new Admission(
                                        gate, budget, folder, stallSeconds, refusals));
                context.pipeline().remove(this);
                context.fireChannelActive();
            }
        }
    }
}
