package chandra.frontend;

import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import java.nio.charset.StandardCharsets;
import java.util.UUID;

/** Why a document is not taken in; said as the handler says what goes wrong. */
enum Refusal {
    STOPPING(
            "engine_unavailable",
            "Engine unavailable",
            "the server is about to stop: try again, elsewhere"),
    GIVEN_UP(
            "engine_unavailable",
            "Engine unavailable",
            "no worker can be started any more: this server has to be replaced"),
    NO_ROOM(
            "overloaded",
            "Overloaded",
            "the documents that are open leave no memory for this one");

    private static final String RETRY_SECONDS = "10";

    private final String code;
    private final String title;
    private final String detail;

    Refusal(String code, String title, String detail) {
        this.code = code;
        this.title = title;
        this.detail = detail;
    }

    FullHttpResponse response() {
        String id = UUID.randomUUID().toString();
        String body =
                "{\"type\": \"about:blank\", \"title\": \"" + title
                        + "\", \"status\": 503, \"detail\": \"" + detail
                        + "\", \"code\": \"" + code
                        + "\", \"request_id\": \"" + id + "\"}";
        FullHttpResponse response =
                new DefaultFullHttpResponse(
                        HttpVersion.HTTP_1_1,
                        HttpResponseStatus.SERVICE_UNAVAILABLE,
                        Unpooled.copiedBuffer(body, StandardCharsets.UTF_8));
        response.headers()
                .set(HttpHeaderNames.CONTENT_TYPE, "application/problem+json")
                .set(HttpHeaderNames.CONTENT_LENGTH, response.content().readableBytes())
                .set(HttpHeaderNames.CONNECTION, HttpHeaderValues.CLOSE)
                .set(HttpHeaderNames.RETRY_AFTER, RETRY_SECONDS)
                .set("x-request-id", id);
        return response;
    }
}
