package chandra.frontend;

import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import org.pytorch.serve.util.ConfigManager;

/**
 * Validator of request heads on the inference address.
 *
 * <p>Rejects unknown paths and methods, because TorchServe has a dozen more paths, accepts any
 * method for each of them, and never responds to some requests.
 */
final class RequestValidator {
    /** Header with the original Content-Type of a form, for the handler. */
    static final String FORM_TYPE = "x-chandra-content-type";

    /** Header in which SageMaker carries options. TorchServe would drop a second one. */
    private static final String ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes";

    private static final String PING = "ping";
    private static final Set<String> STATUS_PATHS = Set.of(PING, "execution-parameters");
    private static final int MAX_LENGTH_DIGITS = 18;

    final long maxBytes;
    private final HostValidator hosts;

    RequestValidator(ConfigManager config, HostValidator hosts) {
        maxBytes = config.getMaxRequestSize();
        this.hosts = hosts;
    }

    /** Returns the reason to reject a request; null if it is valid. */
    Rejection validate(HttpRequest request) {
        HttpHeaders headers = request.headers();
        if (request.decoderResult().isFailure()
                || request.protocolVersion().majorVersion() != 1) {
            return Rejection.MALFORMED;
        }
        Rejection rejection = hosts.validate(request);
        if (rejection != null) {
            return rejection;
        }
        String[] segments;
        try {
            QueryStringDecoder address = new QueryStringDecoder(request.uri());
            segments = address.path().split("/");
            address.parameters();
        } catch (IllegalArgumentException e) {
            return Rejection.malformed("the request target cannot be decoded");
        }
        boolean isStatusPath = segments.length == 2 && STATUS_PATHS.contains(segments[1]);
        if (!isStatusPath && !isDocumentPath(segments)) {
            return Rejection.notFound(
                    "send documents to /invocations or /predictions/chandra by POST");
        }
        List<HttpMethod> allowed = allowedMethods(isStatusPath, segments);
        if (!allowed.contains(request.method())) {
            return Rejection.notAllowed(allowed);
        }
        if (!hasClearLength(headers)) {
            return Rejection.malformed("Content-Length or Transfer-Encoding is invalid");
        }
        if (headers.contains(HttpHeaderNames.EXPECT) && !HttpUtil.is100ContinueExpected(request)) {
            return Rejection.malformed("the only supported value of Expect is 100-continue");
        }
        if (headers.getAll(ATTRIBUTES).size() > 1) {
            return Rejection.malformed(
                    "send " + ATTRIBUTES + " once; separate options by semicolons: a=1;b=2");
        }
        return HttpUtil.getContentLength(request, 0L) > maxBytes
                ? Rejection.tooLarge(maxBytes)
                : null;
    }

    /**
     * Replaces HEAD by GET, because TorchServe does not support HEAD.
     *
     * <p>The codec has already seen the original method and omits the body of the response.
     */
    static void hideHead(HttpRequest request) {
        if (request.method().equals(HttpMethod.HEAD)) {
            request.setMethod(HttpMethod.GET);
        }
    }

    /**
     * Hides the Content-Type of a form from TorchServe, so that the handler parses the form.
     *
     * <p>TorchServe's own decoder fails on unusual forms with a 500, and a few megabytes of small
     * fields block all requests for a minute.
     */
    static void hideForm(HttpRequest request) {
        HttpHeaders headers = request.headers();
        headers.remove(FORM_TYPE);
        String type = headers.get(HttpHeaderNames.CONTENT_TYPE);
        String name = type == null ? "" : type.trim().toLowerCase(Locale.ROOT);
        if (name.startsWith("multipart/")
                || name.startsWith("application/x-www-form-urlencoded")) {
            headers.set(FORM_TYPE, type);
            headers.set(
                    HttpHeaderNames.CONTENT_TYPE, HttpHeaderValues.APPLICATION_OCTET_STREAM);
        }
    }

    private static List<HttpMethod> allowedMethods(boolean isStatusPath, String[] segments) {
        if (!isStatusPath) {
            return List.of(HttpMethod.POST);
        }
        // Load balancers may send HEAD.
        return segments[1].equals(PING)
                ? List.of(HttpMethod.GET, HttpMethod.HEAD)
                : List.of(HttpMethod.GET);
    }

    private static boolean isDocumentPath(String[] segments) {
        if (segments.length < 2 || !segments[0].isEmpty()) {
            return false;
        }
        return segments[1].equals("invocations")
                ? segments.length == 2
                : segments[1].equals("predictions")
                        && (segments.length == 3 || segments.length == 4);
    }

    /** True if every HTTP implementation finds the same end of the body. */
    private static boolean hasClearLength(HttpHeaders headers) {
        List<String> codings = headers.getAll(HttpHeaderNames.TRANSFER_ENCODING);
        List<String> lengths = headers.getAll(HttpHeaderNames.CONTENT_LENGTH);
        if (!codings.isEmpty()) {
            return lengths.isEmpty()
                    && codings.size() == 1
                    && codings.get(0).equalsIgnoreCase("chunked");
        }
        return lengths.isEmpty()
                || lengths.size() == 1
                        && lengths.get(0).matches("[0-9]{1," + MAX_LENGTH_DIGITS + "}");
    }
}
