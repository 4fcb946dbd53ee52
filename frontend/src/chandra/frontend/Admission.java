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
 * Admission control of one connection.
 *
 * <p>Rejects a request before its body is received if the request is invalid, if Java's heap has no
 * room for it, if TorchServe no longer starts a worker, or if the server is draining. Rejects an
 * upload in progress if the server starts to drain, if the upload stalls, or if older uploads need
 * its room.
 *
 * <p>Follows {@link RequestQueue} in the pipeline. Not thread-safe: only the event loop of the
 * connection uses it.
 */
final class Admission extends ChannelDuplexHandler {
    /** Number of documents that are being received, read or returned. */
    private static final AtomicInteger OPEN = new AtomicInteger();

    private static final long CHECK_MILLISECONDS = 200;

    /**
     * Time after which the connection of a rejected request is closed, even if its body is
     * incomplete.
     */
    private static final long LINGER_SECONDS = 10;

    /** The minimum rate of an upload is its length divided by this time. */
    private static final long MAX_UPLOAD_SECONDS = 300;

    /** Minimum number of bytes per stall timeout for an upload of unknown length. */
    private static final long MIN_PROGRESS_BYTES = 16 * 1024;

    /**
     * Header with the time at which the request was complete, in nanoseconds of the monotonic
     * clock.
     */
    private static final String ARRIVAL = "x-chandra-arrival";

    private final RequestValidator validator;
    private final Budget budget;
    private final Path folder;
    private final Path draining;
    private final long stallNanoseconds;
    private final RateLimitedLog rejections;

    /** Reservation of the request in progress; null if there is none. */
    private Budget.Reservation reservation;

    /** TorchServe's id of that request; null until TorchServe has received all of it. */
    private String name;

    private boolean isReceiving;
    private boolean isRejected;

    /** True if the rest of the connection cannot be parsed. */
    private boolean isBroken;

    private boolean isChecking;

    /** Head of the request in progress. TorchServe's aggregated request shares its headers. */
    private HttpRequest head;

    /** Announced length of the body, or the maximum length of a chunked one, in bytes. */
    private long announced;

    /** Bytes received so far. */
    private long received;

    /** Value of {@code received} when the minimum number of bytes was last reached. */
    private long progress;

    /** Minimum number of bytes that must arrive in each stall timeout. */
    private long minProgress;

    /** Time at which that minimum was last reached. */
    private long progressAt;

    static int numOpen() {
        return OPEN.get();
    }

    Admission(
            RequestValidator validator,
            Budget budget,
            String folder,
            long stallSeconds,
            RateLimitedLog rejections) {
        this.validator = validator;
        this.budget = budget;
        this.folder = Path.of(folder);
        this.draining = this.folder.resolve("draining");
        this.stallNanoseconds = TimeUnit.SECONDS.toNanos(stallSeconds);
        this.rejections = rejections;
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        boolean isLast = message instanceof LastHttpContent;
        if (!isRejected && message instanceof HttpRequest) {
            beginRequest(context, (HttpRequest) message);
        }
        if (!isRejected && message instanceof HttpContent) {
            receive(context, (HttpContent) message);
        }
        if (isRejected) {
            // Read the rest of the request: if the connection were closed now, a client that is
            // still writing would see a reset instead of the response.
            ReferenceCountUtil.release(message);
            if (isLast && !isBroken) {
                context.close();
            }
            return;
        }
        if (isLast && reservation.isDocument) {
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
        if (isRejected) {
            // The rejection was already sent. TorchServe may respond to the truncated request as
            // well, and would close the connection once that response appears to be sent.
            ReferenceCountUtil.release(message);
            return;
        }
        if (!RequestQueue.isInterim(message)) {
            FullHttpResponse translated = translate(message);
            if (translated != null) {
                ReferenceCountUtil.release(message);
                message = translated;
            }
            if (message instanceof FullHttpResponse && reservation != null) {
                // TorchServe has released the body. The unsent response is counted separately.
                reservation.release();
            }
            if (message instanceof LastHttpContent) {
                promise = promise.unvoid();
                promise.addListener(done -> finishRequest());
            }
        }
        context.write(message, promise);
    }

    @Override
    public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
        boolean isWaiting = reservation != null && !isReceiving;
        if (cause instanceof CodecException && !isRejected && !isWaiting) {
            if (isReceiving) {
                abort(context, Rejection.MALFORMED);
            } else {
                reject(context, Rejection.MALFORMED);
            }
        } else {
            context.fireExceptionCaught(cause);
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        if (reservation != null) {
            Budget.Reservation abandoned = reservation;
            reservation = null;
            countClosed(abandoned);
            if (isReceiving || isRejected || name == null || !abandoned.isDocument) {
                // The worker never received this request, and its bytes are already released.
                abandoned.release();
            } else {
                new Disconnection(context.channel(), folder, name, abandoned::release).announce();
            }
        }
        isReceiving = false;
        context.fireChannelInactive();
    }

    private void beginRequest(ChannelHandlerContext context, HttpRequest request) {
        isReceiving = true;
        head = request;
        received = progress = 0;
        progressAt = System.nanoTime();
        Rejection rejection = validator.validate(request);
        reservation =
                budget
                .new Reservation(
                        rejection == null && request.method().equals(HttpMethod.POST),
                        () -> context.executor().execute(() -> makeRoom(context)));
        if (reservation.isDocument) {
            OPEN.incrementAndGet();
            if (Files.exists(draining)) {
                rejection = Rejection.STOPPING;
            } else if (WorkerState.isGivenUp()) {
                rejection = Rejection.GIVEN_UP;
            }
        }
        if (rejection == null) {
            boolean isChunked = HttpUtil.isTransferEncodingChunked(request);
            announced = isChunked ? validator.maxBytes : HttpUtil.getContentLength(request, 0L);
            minProgress = isChunked ? MIN_PROGRESS_BYTES : share(announced);
            rejection = reservation.begin(announced) ? null : Rejection.NO_ROOM;
        }
        if (rejection != null) {
            reject(context, rejection);
            return;
        }
        request.headers().remove(ARRIVAL);
        RequestValidator.hideForm(request);
        RequestValidator.hideHead(request);
        if (!isChecking) {
            isChecking = true;
            checkUpload(context);
        }
    }

    /** Returns the minimum number of bytes per stall timeout for a body of the given length. */
    private long share(long length) {
        double seconds = stallNanoseconds / (double) TimeUnit.SECONDS.toNanos(1);
        return Math.max(1, (long) (length * seconds / MAX_UPLOAD_SECONDS));
    }

    private void receive(ChannelHandlerContext context, HttpContent content) {
        received += content.content().readableBytes();
        if (received - progress >= minProgress) {
            progress = received;
            progressAt = System.nanoTime();
        }
        boolean isLast = content instanceof LastHttpContent;
        if (content.decoderResult().isFailure()) {
            abort(context, Rejection.MALFORMED);
        } else if (received > validator.maxBytes) {
            abort(context, Rejection.tooLarge(validator.maxBytes));
        } else if (!(isLast
                ? reservation.complete(received)
                : reservation.grow(received, announced))) {
            abort(context, Rejection.NO_ROOM);
        } else if (isLast && reservation.isDocument && Files.exists(draining)) {
            abort(context, Rejection.STOPPING);
        }
    }

    /** Aborts this upload so that an older one can continue. */
    private void makeRoom(ChannelHandlerContext context) {
        if (isReceiving && !isRejected) {
            abort(context, Rejection.NO_ROOM);
        }
    }

    /** Rejects an upload of which TorchServe has received a part, and releases that part. */
    private void abort(ChannelHandlerContext context, Rejection rejection) {
        reject(context, rejection);
        DefaultLastHttpContent end = new DefaultLastHttpContent();
        end.setDecoderResult(DecoderResult.failure(new CodecException(rejection.toString())));
        context.fireChannelRead(end);
        reservation.release();
    }

    /** Checks periodically whether the server is draining or the upload has stalled. */
    private void checkUpload(ChannelHandlerContext context) {
        context.executor()
                .schedule(
                        () -> {
                            isChecking = isReceiving && !isRejected;
                            if (!isChecking) {
                                return;
                            }
                            if (reservation.isDocument && Files.exists(draining)) {
                                abort(context, Rejection.STOPPING);
                            } else if (System.nanoTime() - progressAt > stallNanoseconds) {
                                abort(context, Rejection.STALLED);
                            } else {
                                checkUpload(context);
                            }
                        },
                        CHECK_MILLISECONDS,
                        TimeUnit.MILLISECONDS);
    }

    private void reject(ChannelHandlerContext context, Rejection rejection) {
        isRejected = true;
        isBroken = rejection.isMalformed();
        rejections.add(rejection.toString(), context.executor());
        context.writeAndFlush(rejection.response())
                .addListener(
                        done -> {
                            if (isBroken) {
                                // The end of the request cannot be found.
                                ((DuplexChannel) context.channel()).shutdownOutput();
                            }
                        });
        context.executor().schedule(() -> context.close(), LINGER_SECONDS, TimeUnit.SECONDS);
    }

    private FullHttpResponse translate(Object message) {
        boolean isToDocument = reservation != null && reservation.isDocument;
        return isToDocument && message instanceof FullHttpResponse
                ? Rejection.translate((FullHttpResponse) message)
                : null;
    }

    private void finishRequest() {
        if (reservation != null) {
            countClosed(reservation);
            reservation.release();
            reservation = null;
        }
    }

    private static void countClosed(Budget.Reservation reservation) {
        if (reservation.isDocument) {
            OPEN.decrementAndGet();
        }
    }
}
