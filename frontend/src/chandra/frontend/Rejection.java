package chandra.frontend;

import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.UUID;
import java.util.stream.Collectors;

/** Error response of the frontend, in the handler's problem format (RFC 9457). */
final class Rejection {
    static final String PROBLEM = "application/problem+json";

    static final Rejection STOPPING =
            unavailable("the server is about to stop: retry with another server");
    static final Rejection GIVEN_UP =
            unavailable("TorchServe no longer starts a worker: replace this server");
    static final Rejection NO_ROOM =
            overloaded("open documents leave no memory for this one: retry later");

    static final Rejection MALFORMED = malformed("the request is not valid HTTP/1");
    static final Rejection STALLED =
            malformed(
                    "the upload stalled: send at least 1/300 of its Content-Length per second, or"
                            + " 16 KiB per minute of a chunked body");

    private static final Rejection NO_MODEL =
            new Rejection(404, "not_found", "the model does not exist");
    private static final Rejection QUEUE_FULL =
            overloaded("too many documents are waiting: retry later");
    private static final Rejection NO_WORKER =
            unavailable("no worker is running: the model is loading, or the worker failed");
    private static final Rejection WORKER_ENDED =
            unavailable("the worker exited before it responded: retry");
    private static final Rejection FAILED =
            new Rejection(500, "internal", "TorchServe failed to respond");
    private static final int INSUFFICIENT_STORAGE = 507;

    private static final String RETRY_SECONDS = "10";

    private final int status;
    private final String code;
    private final String detail;
    private String allow;

    private Rejection(int status, String code, String detail) {
        this.status = status;
        this.code = code;
        this.detail = detail;
    }

    static Rejection malformed(String detail) {
        return new Rejection(400, "bad_request", detail);
    }

    static Rejection forbidden(String detail) {
        return new Rejection(403, "forbidden", detail);
    }

    static Rejection notFound(String detail) {
        return new Rejection(404, "not_found", detail);
    }

    static Rejection notAllowed(List<HttpMethod> allowed) {
        Rejection rejection = new Rejection(405, "method_not_allowed", "use " + allowed.get(0));
        rejection.allow = allowed.stream().map(HttpMethod::name).collect(Collectors.joining(", "));
        return rejection;
    }

    static Rejection tooLarge(long maxBytes) {
        return new Rejection(
                413,
                "document_too_large",
                String.format(Locale.ROOT, "a request may have at most %,d bytes", maxBytes));
    }

    private static Rejection unavailable(String detail) {
        return new Rejection(503, "engine_unavailable", detail);
    }

    private static Rejection overloaded(String detail) {
        return new Rejection(503, "overloaded", detail);
    }

    /** True if the start of the next request on the connection cannot be found. */
    boolean isMalformed() {
        return status == 400;
    }

    /** Converts an error in TorchServe's format; returns null for any other response. */
    static FullHttpResponse translate(FullHttpResponse response) {
        int status = response.status().code();
        if (status < 400 || PROBLEM.equals(response.headers().get(HttpHeaderNames.CONTENT_TYPE))) {
            return null;
        }
        String message = response.content().toString(StandardCharsets.UTF_8);
        return classify(status, message).response(response.headers().get("x-request-id"));
    }

    private static Rejection classify(int status, String message) {
        if (status == 404) {
            return NO_MODEL;
        }
        if (status < 500) {
            return MALFORMED;
        }
        // TorchServe reports a killed worker as 507, as if it had run out of memory.
        if (status == INSUFFICIENT_STORAGE || message.contains("Worker died")) {
            return WORKER_ENDED;
        }
        if (status != 503) {
            return FAILED;
        }
        // TorchServe reports "no worker" both for a full queue and for a missing worker.
        if (message.contains("no worker")) {
            if (WorkerState.hasLoadedWorker()) {
                return QUEUE_FULL;
            }
            return WorkerState.isGivenUp() ? GIVEN_UP : NO_WORKER;
        }
        return WORKER_ENDED;
    }

    FullHttpResponse response() {
        return response(null);
    }

    private FullHttpResponse response(String requestId) {
        String id = requestId == null ? UUID.randomUUID().toString() : requestId;
        String title = code.substring(0, 1).toUpperCase(Locale.ROOT) + code.substring(1);
        String body =
                "{\"type\": \"about:blank\", \"title\": \"" + title.replace('_', ' ')
                        + "\", \"status\": " + status
                        + ", \"detail\": \"" + detail
                        + "\", \"code\": \"" + code
                        + "\", \"request_id\": \"" + id + "\"}";
        FullHttpResponse response =
                new DefaultFullHttpResponse(
                        HttpVersion.HTTP_1_1,
                        HttpResponseStatus.valueOf(status),
                        Unpooled.copiedBuffer(body, StandardCharsets.UTF_8));
        response.headers()
                .set(HttpHeaderNames.CONTENT_TYPE, PROBLEM)
                .set(HttpHeaderNames.CONTENT_LENGTH, response.content().readableBytes())
                .set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE)
                .set("x-request-id", id);
        if (status == 503) {
            response.headers().set(HttpHeaderNames.RETRY_AFTER, RETRY_SECONDS);
        }
        if (allow != null) {
            response.headers().set(HttpHeaderNames.ALLOW, allow);
        }
        return response;
    }

    @Override
    public String toString() {
        return code + ": " + detail;
    }
}
