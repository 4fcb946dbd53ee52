package chandra.frontend;

import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Refuses a document before its body is taken in: where Java has no room for it, where there will
 * be no worker any more, and while the server is about to stop, also when a part of it has come
 * already.
 *
 * <p>One for each connection, used by that connection's thread only.
 */
final class Admission extends ChannelDuplexHandler {
    /** Documents on their way in, being read, or on their way out. */
    private static final AtomicInteger OPEN = new AtomicInteger();

    private static final Logger LOGGER = LoggerFactory.getLogger(Admission.class);
    private static final long LOOK_MILLISECONDS = 200;

    /** A client that has not sent the rest by then is not waited for. */
    private static final long LINGER_SECONDS = 10;

    /**
     * For how long the body of a client that has left still counts: TorchServe holds it until the
     * handler has answered, at its deadline at the latest.
     */
    private static final long GONE_SECONDS = 60;

    private final Budget budget;
    private final Path draining;

    /** Of the requests on their way, the oldest first. */
    private final ArrayDeque<Budget.Claim> claims = new ArrayDeque<>();

    private boolean isReceiving;
    private boolean isRefused;
    private long received;

    static int numOpen() {
        return OPEN.get();
    }

    Admission(Budget budget, String folder) {
        this.budget = budget;
        this.draining = Path.of(folder, "draining");
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        boolean isLast = message instanceof LastHttpContent;
        if (!isRefused && message instanceof HttpRequest) {
            begin(context, (HttpRequest) message);
        }
        if (!isRefused && isReceiving && message instanceof HttpContent) {
            received += ((HttpContent) message).content().readableBytes();
            if (!claims.getLast().cover(received)) {
                refuse(context, Refusal.NO_ROOM);
            }
        }
        if (isRefused) {
            // Read to its end, though: a client that still writes would see a reset
            // connection and not the answer.
            ReferenceCountUtil.release(message);
            if (isLast) {
                context.close();
            }
            return;
        }
        isReceiving = isReceiving && !isLast;
        context.fireChannelRead(message);
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        boolean isInterim =
                message instanceof HttpResponse
                        && ((HttpResponse) message).status().codeClass()
                                == HttpStatusClass.INFORMATIONAL;
        if (!isRefused && !isInterim && message instanceof LastHttpContent) {
            promise = promise.unvoid();
            promise.addListener(done -> answered());
        }
        context.write(message, promise);
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        if (isReceiving && !claims.isEmpty()) {
            // It never was a request; its bytes are gone.
            end(claims.removeLast());
        }
        isReceiving = false;
        for (Budget.Claim claim : claims) {
            leave(claim);
            context.executor().schedule(claim::release, GONE_SECONDS, TimeUnit.SECONDS);
        }
        claims.clear();
        context.fireChannelInactive();
    }

    private void begin(ChannelHandlerContext context, HttpRequest request) {
        Budget.Claim claim = budget.new Claim(!request.method().equals(HttpMethod.GET));
        claims.add(claim);
        if (!claim.isDocument) {
            return;
        }
        OPEN.incrementAndGet();
        isReceiving = true;
        received = 0;
        if (Files.exists(draining)) {
            refuse(context, Refusal.STOPPING);
        } else if (WorkerState.isGivenUp()) {
            refuse(context, Refusal.GIVEN_UP);
        } else if (!claim.cover(HttpUtil.getContentLength(request, 0L))) {
            refuse(context, Refusal.NO_ROOM);
        } else {
            look(context);
        }
    }

    /** A body may be on its way for long, or stand still: see whether it is too late for it. */
    private void look(ChannelHandlerContext context) {
        context.executor()
                .schedule(
                        () -> {
                            if (isReceiving && !isRefused) {
                                if (Files.exists(draining)) {
                                    refuse(context, Refusal.STOPPING);
                                } else {
                                    look(context);
                                }
                            }
                        },
                        LOOK_MILLISECONDS,
                        TimeUnit.MILLISECONDS);
    }

    private void refuse(ChannelHandlerContext context, Refusal refusal) {
        isRefused = true;
        LOGGER.warn("document refused: {}", refusal);
        context.writeAndFlush(refusal.response());
        context.executor().schedule(() -> context.close(), LINGER_SECONDS, TimeUnit.SECONDS);
    }

    private void answered() {
        if (!claims.isEmpty()) {
            end(claims.remove());
        }
    }

    private static void end(Budget.Claim claim) {
        leave(claim);
        claim.release();
    }

    private static void leave(Budget.Claim claim) {
        if (claim.isDocument) {
            OPEN.decrementAndGet();
        }
    }
}
