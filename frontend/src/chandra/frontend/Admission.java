package chandra.frontend;

import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.socket.DuplexChannel;
import io.netty.handler.codec.CodecException;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.pytorch.serve.util.NettyUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Refuses a request before its body is taken in: where there is nothing it could mean, where Java
 * has no room for it, where there will be no worker any more, and while the server is about to
 * stop, also when a part of it has come already.
 *
 * <p>One for each connection, behind {@link Turns}; used by that connection's thread only.
 */
final class Admission extends ChannelDuplexHandler {
    /** Documents on their way in, being read, or on their way out. */
    private static final AtomicInteger OPEN = new AtomicInteger();

    private static final Logger LOGGER = LoggerFactory.getLogger(Admission.class);
    private static final long LOOK_MILLISECONDS = 200;

    /** A client that has not sent the rest by then is not waited for. */
    private static final long LINGER_SECONDS = 10;

    /** A body of which less than this has come in so long keeps others' room for nothing. */
    private static final long PROGRESS_BYTES = 16 * 1024;

    private final Gate gate;
    private final Budget budget;
    private final Path folder;
    private final Path draining;
    private final long stallNanoseconds;

    /** Of the request that has no answer yet; null between two. */
    private Budget.Claim claim;

    /** What TorchServe calls that request, once it has all of it. */
    private String name;

    private boolean isReceiving;
    private boolean isRefused;

    /** Whether nothing that comes can be understood any more. */
    private boolean isBroken;

    private boolean isLooking;
    private long received;
    private long progress;
    private long progressAt;

    static int numOpen() {
        return OPEN.get();
    }

    Admission(Gate gate, Budget budget, String folder, long stallSeconds) {
        this.gate = gate;
        this.budget = budget;
        this.folder = Path.of(folder);
        this.draining = this.folder.resolve("draining");
        this.stallNanoseconds = TimeUnit.SECONDS.toNanos(stallSeconds);
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        boolean isLast = message instanceof LastHttpContent;
        if (!isRefused && message instanceof HttpRequest) {
            begin(context, (HttpRequest) message);
        }
        if (!isRefused && message instanceof HttpContent) {
            take(context, (HttpContent) message);
        }
        if (isRefused) {
            // Read to its end, though: a client that still writes would see a reset
            // connection and not the answer.
            ReferenceCountUtil.release(message);
            if (isLast && !isBroken) {
                context.close();
            }
            return;
        }
        isReceiving = isReceiving && !isLast;
        context.fireChannelRead(message);
        if (isLast) {
            name = NettyUtils.getRequestId(context.channel());
        }
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (!isRefused && !Turns.isInterim(message)) {
            FullHttpResponse ours = inOurForm(message);
            if (ours != null) {
                ReferenceCountUtil.release(message);
                message = ours;
            }
            if (message instanceof LastHttpContent) {
                promise = promise.unvoid();
                promise.addListener(done -> answered());
            }
        }
        context.write(message, promise);
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
        boolean isWaiting = claim != null && !isReceiving;
        if (cause instanceof CodecException && !isRefused && !isWaiting) {
            refuse(context, Refusal.MALFORMED);
        } else {
            context.fireExceptionCaught(cause);
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        if (claim != null) {
            Budget.Claim left = claim;
            claim = null;
            leave(left);
            if (isReceiving || isRefused || name == null || !left.isDocument) {
                // It never was a request of the worker's; its bytes are gone.
                left.release();
            } else {
                new Departure(context.channel(), folder, name, left::release).announce();
            }
        }
        isReceiving = false;
        context.fireChannelInactive();
    }

    private void begin(ChannelHandlerContext context, HttpRequest request) {
        isReceiving = true;
        received = progress = 0;
        progressAt = System.nanoTime();
        Refusal refusal = gate.refusal(request);
        claim = budget.new Claim(refusal == null && request.method().equals(HttpMethod.POST));
        if (claim.isDocument) {
            OPEN.incrementAndGet();
            if (Files.exists(draining)) {
                refusal = Refusal.STOPPING;
            } else if (WorkerState.isGivenUp()) {
                refusal = Refusal.GIVEN_UP;
            }
        }
        if (refusal == null && !claim.cover(HttpUtil.getContentLength(request, 0L))) {
            refusal = Refusal.NO_ROOM;
        }
        if (refusal != null) {
            refuse(context, refusal);
            return;
        }
        Gate.hideForm(request);
        Gate.hideHead(request);
        if (!isLooking) {
            isLooking = true;
            look(context);
        }
    }

    private void take(ChannelHandlerContext context, HttpContent content) {
        received += content.content().readableBytes();
        if (received - progress >= PROGRESS_BYTES) {
            progress = received;
            progressAt = System.nanoTime();
        }
        if (content.decoderResult().isFailure()) {
            refuse(context, Refusal.MALFORMED);
        } else if (received > gate.maxBytes) {
            refuse(context, Refusal.tooLarge(gate.maxBytes));
        } else if (!claim.cover(received)) {
            refuse(context, Refusal.NO_ROOM);
        }
    }

    /** A body may be on its way for long, or stand still: see whether it is too late for it. */
    private void look(ChannelHandlerContext context) {
        context.executor()
                .schedule(
                        () -> {
                            isLooking = isReceiving && !isRefused;
                            if (!isLooking) {
                                return;
                            }
                            if (claim.isDocument && Files.exists(draining)) {
                                refuse(context, Refusal.STOPPING);
                            } else if (System.nanoTime() - progressAt > stallNanoseconds) {
                                refuse(context, Refusal.STALLED);
                            } else {
                                look(context);
                            }
                        },
                        LOOK_MILLISECONDS,
                        TimeUnit.MILLISECONDS);
    }

    private void refuse(ChannelHandlerContext context, Refusal refusal) {
        isRefused = true;
        isBroken = refusal.isMalformed();
        LOGGER.warn("request refused: {}", refusal);
        context.writeAndFlush(refusal.response())
                .addListener(
                        done -> {
                            if (isBroken) {
                                // Of what is still to come, no end can be seen.
                                ((DuplexChannel) context.channel()).shutdownOutput();
                            }
                        });
        context.executor().schedule(() -> context.close(), LINGER_SECONDS, TimeUnit.SECONDS);
    }

    private FullHttpResponse inOurForm(Object message) {
        boolean isToDocument = claim != null && claim.isDocument;
        return isToDocument && message instanceof FullHttpResponse
                ? Refusal.translated((FullHttpResponse) message)
                : null;
    }

    private void answered() {
        if (claim != null) {
            leave(claim);
            claim.release();
            claim = null;
        }
    }

    private static void leave(Budget.Claim claim) {
        if (claim.isDocument) {
            OPEN.decrementAndGet();
        }
    }
}
