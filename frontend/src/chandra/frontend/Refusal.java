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

/** The reason why a request is not answered by the handler, as a problem in the handler's form. */
final class Refusal {
    static final String PROBLEM = "application/problem+json";

    static final Refusal STOPPING =
            unavailable("the server is about to stop: try again, elsewhere");
    static final Refusal GIVEN_UP =
            unavailable("no worker can be started any more: this server has to be replaced");
    static final Refusal NO_ROOM =
            overloaded("the documents that are open leave no memory for this one");

    static final Refusal MALFORMED = malformed("it is no HTTP that can be read");
    static final Refusal STALLED =
            malformed(
                    "the upload stalled: send at least 1/300 of its Content-Length a second, or"
                            + " 16 KiB a minute of a chunked body");

    private static final Refusal NO_MODEL = new Refusal(404, "not_found", "there is no such model");
    private static final Refusal QUEUE_FULL = overloaded("too many documents are waiting already");
    private static final Refusal NO_WORKER =
            unavailable("no worker is running: the model is being loaded, or was lost");
    private static final Refusal WORKER_ENDED =
            unavailable("the worker ended before it had answered: try again");
    private static final Refusal FAILED =
            new Refusal(500, "internal", "TorchServe failed to answer");
    private static final int INSUFFICIENT_STORAGE = 507;

    private static final String RETRY_SECONDS = "10";

    private final int status;
    private final String code;
    private final String detail;
    private String allow;

    private Refusal(int status, String code, String detail) {
        this.status = status;
        this.code = code;
        this.detail = detail;
    }

    static Refusal malformed(String detail) {
        return new Refusal(400, "bad_request", detail);
    }

    static Refusal forbidden(String detail) {
        return new Refusal(403, "forbidden", detail);
    }

    static Refusal notFound(String detail) {
        return new Refusal(404, "not_found", detail);
    }

    static Refusal notAllowed(List<HttpMethod> allowed) {
        Refusal refusal = new Refusal(405, "method_not_allowed", "use " + allowed.get(0));
        refusal.allow = allowed.stream().map(HttpMethod::name).collect(Collectors.joining(", "));
        return refusal;
    }

    static Refusal tooLarge(long maxBytes) {
        return new Refusal(
                413,
                "document_too_large",
                String.format(Locale.ROOT, "a request may have %,d bytes at most", maxBytes));
    }

    private static Refusal unavailable(String detail) {
        return new Refusal(503, "engine_unavailable", detail);
    }

    private static Refusal overloaded(String detail) {
        return new Refusal(503, "overloaded", detail);
    }

    /** Whether what comes after it has no beginning that could be found. */
    boolean isMalformed() {
        return status == 400;
    }

    /** Translates an error in TorchServe's form into ours; null where it is in ours already. */
    static FullHttpResponse translated(FullHttpResponse said) {
        int status = said.status().code();
        if (status < 400 || PROBLEM.equals(said.headers().get(HttpHeaderNames.CONTENT_TYPE))) {
            return null;
        }
        String message = said.content().toString(StandardCharsets.UTF_8);
        return reason(status, message).response(said.headers().get("x-request-id"));
    }

    private static Refusal reason(int status, String message) {
        if (status == 404) {
            return NO_MODEL;
        }
        if (status < 500) {
            return MALFORMED;
        }
        // TorchServe takes a worker that was killed for one without memory: 507.
        if (status == INSUFFICIENT_STORAGE || message.contains("Worker died")) {
            return WORKER_ENDED;
        }
        if (status != 503) {
            return FAILED;
        }
        // It says "no worker" in both cases: its queue is full, or nothing empties it.
        if (message.contains("no worker")) {
            return WorkerState.hasLoadedWorker() ? QUEUE_FULL : NO_WORKER;
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
