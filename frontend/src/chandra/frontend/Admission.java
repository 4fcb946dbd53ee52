package chandra.frontend;

import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.socket.DuplexChannel;
import io.netty.handler.codec.CodecException;
import io.netty.handler.codec.DecoderResult;
import io.netty.handler.codec.http.DefaultLastHttpContent;
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

/**
 * Refuses a request before its body is taken in: where it is no request of ours, where Java has no
 * room for it, where no worker can be started any more, and while the server is about to stop. An
 * upload in progress is refused when the server stops, when it stalls, and when older uploads need
 * its room.
 *
 * <p>One for each connection, behind {@link Turns}; used by that connection's thread only.
 */
final class Admission extends ChannelDuplexHandler {
    /** Documents on their way in, being read, or on their way out. */
    private static final AtomicInteger OPEN = new AtomicInteger();

    private static final long LOOK_MILLISECONDS = 200;

    /** A client that has not sent the rest by then is not waited for. */
    private static final long LINGER_SECONDS = 10;

    /** An upload must arrive at a rate at which the whole of it would take this long. */
    private static final long MAX_UPLOAD_SECONDS = 300;

    /** Bytes that an upload of unknown length must send in each stall timeout. */
    private static final long MIN_PROGRESS_BYTES = 16 * 1024;

    /** When the whole request was there, on the monotonic clock, in nanoseconds. */
    private static final String ARRIVAL = "x-chandra-arrival";

    private final Gate gate;
    private final Budget budget;
    private final Path folder;
    private final Path draining;
    private final long stallNanoseconds;
    private final RateLimitedLog refusals;

    /** Of the request that has no answer yet; null between two. */
    private Budget.Claim claim;

    /** What TorchServe calls that request, once it has all of it. */
    private String name;

    private boolean isReceiving;
    private boolean isRefused;

    /** Whether nothing that comes can be understood any more. */
    private boolean isBroken;

    private boolean isLooking;

    /** The head of the request that is on its way; its headers are those of the whole request. */
    private HttpRequest head;

    /** Bytes of the body: announced, or the most there may be; arrived; arrived at last look. */
    private long announced;

    private long received;
    private long progress;

    /** Bytes that must arrive in each stall timeout, and when that many last had. */
    private long minProgress;

    private long progressAt;

    static int numOpen() {
        return OPEN.get();
    }

    Admission(
            Gate gate, Budget budget, String folder, long stallSeconds, RateLimitedLog refusals) {
        this.gate = gate;
        this.budget = budget;
        this.folder = Path.of(folder);
        this.draining = this.folder.resolve("draining");
        this.stallNanoseconds = TimeUnit.SECONDS.toNanos(stallSeconds);
        this.refusals = refusals;
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
        if (isLast && claim.isDocument) {
            head.headers().set(ARRIVAL, System.nanoTime());
        }
        isReceiving = isReceiving && !isLast;
        context.fireChannelRead(message);
        if (isLast) {
            name = NettyUtils.getRequestId(context.channel());
        }
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (isRefused) {
            // The request has its answer. TorchServe, which misses a part of it, may have another
            // one, and would close the connection as soon as that was said to be sent.
            ReferenceCountUtil.release(message);
            return;
        }
        if (!Turns.isInterim(message)) {
            FullHttpResponse ours = inOurForm(message);
            if (ours != null) {
                ReferenceCountUtil.release(message);
                message = ours;
            }
            if (message instanceof FullHttpResponse && claim != null) {
                // TorchServe has let go of the body; what has yet to be sent is counted apart.
                claim.release();
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
            if (isReceiving) {
                giveUp(context, Refusal.MALFORMED);
            } else {
                refuse(context, Refusal.MALFORMED);
            }
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
        head = request;
        received = progress = 0;
        progressAt = System.nanoTime();
        Refusal refusal = gate.refusal(request);
        claim =
                budget
                .new Claim(
                        refusal == null && request.method().equals(HttpMethod.POST),
                        () -> context.executor().execute(() -> makeRoom(context)));
        if (claim.isDocument) {
            OPEN.incrementAndGet();
            if (Files.exists(draining)) {
                refusal = Refusal.STOPPING;
            } else if (WorkerState.isGivenUp()) {
                refusal = Refusal.GIVEN_UP;
            }
        }
        if (refusal == null) {
            boolean isChunked = HttpUtil.isTransferEncodingChunked(request);
            announced = isChunked ? gate.maxBytes : HttpUtil.getContentLength(request, 0L);
            minProgress = isChunked ? MIN_PROGRESS_BYTES : share(announced);
            refusal = claim.begin(announced) ? null : Refusal.NO_ROOM;
        }
        if (refusal != null) {
            refuse(context, refusal);
            return;
        }
        request.headers().remove(ARRIVAL);
        Gate.hideForm(request);
        Gate.hideHead(request);
        if (!isLooking) {
            isLooking = true;
            look(context);
        }
    }

    /** The bytes of a body that must arrive in each stall timeout. */
    private long share(long length) {
        double seconds = stallNanoseconds / (double) TimeUnit.SECONDS.toNanos(1);
        return Math.max(1, (long) (length * seconds / MAX_UPLOAD_SECONDS));
    }

    private void take(ChannelHandlerContext context, HttpContent content) {
        received += content.content().readableBytes();
        if (received - progress >= minProgress) {
            progress = received;
            progressAt = System.nanoTime();
        }
        boolean isLast = content instanceof LastHttpContent;
        if (content.decoderResult().isFailure()) {
            giveUp(context, Refusal.MALFORMED);
        } else if (received > gate.maxBytes) {
            giveUp(context, Refusal.tooLarge(gate.maxBytes));
        } else if (!(isLast ? claim.complete(received) : claim.grow(received, announced))) {
            giveUp(context, Refusal.NO_ROOM);
        } else if (isLast && claim.isDocument && Files.exists(draining)) {
            giveUp(context, Refusal.STOPPING);
        }
    }

    /** Ends this upload so that an older one can go on. */
    private void makeRoom(ChannelHandlerContext context) {
        if (isReceiving && !isRefused) {
            giveUp(context, Refusal.NO_ROOM);
        }
    }

    /** Refuses an upload of which a part has been passed on, and frees that part. */
    private void giveUp(ChannelHandlerContext context, Refusal refusal) {
        refuse(context, refusal);
        DefaultLastHttpContent end = new DefaultLastHttpContent();
        end.setDecoderResult(DecoderResult.failure(new CodecException(refusal.toString())));
        context.fireChannelRead(end);
        claim.release();
    }

    /** Checks an upload now and then: the server may stop meanwhile, or the upload may stall. */
    private void look(ChannelHandlerContext context) {
        context.executor()
                .schedule(
                        () -> {
                            isLooking = isReceiving && !isRefused;
                            if (!isLooking) {
                                return;
                            }
                            if (claim.isDocument && Files.exists(draining)) {
                                giveUp(context, Refusal.STOPPING);
                            } else if (System.nanoTime() - progressAt > stallNanoseconds) {
                                giveUp(context, Refusal.STALLED);
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
        refusals.add(refusal.toString(), context.executor());
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
