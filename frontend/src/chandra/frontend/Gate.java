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
 * Which requests there are. Any other is told so by its head: TorchServe has a dozen more
 * addresses, takes any method for any of them, and never answers some.
 */
final class Gate {
    /** What the handler is told of a body that TorchServe would take apart itself. */
    static final String FORM_TYPE = "x-chandra-content-type";

    /** Where SageMaker carries options; a second one would be dropped further on. */
    private static final String ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes";

    private static final String PING = "ping";
    private static final Set<String> QUESTIONS = Set.of(PING, "execution-parameters");
    private static final int MAX_LENGTH_DIGITS = 18;

    final long maxBytes;
    private final Hosts hosts;

    Gate(ConfigManager config, Hosts hosts) {
        maxBytes = config.getMaxRequestSize();
        this.hosts = hosts;
    }

    /** Why this head is refused; null where it is not. */
    Refusal refusal(HttpRequest request) {
        HttpHeaders headers = request.headers();
        if (request.decoderResult().isFailure()
                || request.protocolVersion().majorVersion() != 1) {
            return Refusal.MALFORMED;
        }
        Refusal refusal = hosts.refusal(request);
        if (refusal != null) {
            return refusal;
        }
        String[] segments;
        try {
            QueryStringDecoder address = new QueryStringDecoder(request.uri());
            segments = address.path().split("/");
            address.parameters();
        } catch (IllegalArgumentException e) {
            return Refusal.malformed("the address cannot be decoded");
        }
        boolean isQuestion = segments.length == 2 && QUESTIONS.contains(segments[1]);
        if (!isQuestion && !isForDocuments(segments)) {
            return Refusal.notFound(
                    "documents go to /invocations or /predictions/chandra by POST");
        }
        List<HttpMethod> allowed = allowed(isQuestion, segments);
        if (!allowed.contains(request.method())) {
            return Refusal.notAllowed(allowed);
        }
        if (!hasLength(headers)) {
            return Refusal.malformed("Content-Length or Transfer-Encoding makes no sense");
        }
        if (headers.contains(HttpHeaderNames.EXPECT) && !HttpUtil.is100ContinueExpected(request)) {
            return Refusal.malformed("nothing but 100-continue can be expected");
        }
        if (headers.getAll(ATTRIBUTES).size() > 1) {
            return Refusal.malformed("send " + ATTRIBUTES + " once: a=1;b=2 are two options");
        }
        return HttpUtil.getContentLength(request, 0L) > maxBytes
                ? Refusal.tooLarge(maxBytes)
                : null;
    }

    /**
     * Has HEAD answered as GET is: the codec, which has seen the method, leaves out the body.
     * TorchServe has no answer to it.
     */
    static void hideHead(HttpRequest request) {
        if (request.method().equals(HttpMethod.HEAD)) {
            request.setMethod(HttpMethod.GET);
        }
    }

    /**
     * Leaves a form to the handler. TorchServe's own decoder fails on odd ones with a 500, and a
     * few megabytes of small fields keep it, and everybody else's requests, busy for a minute.
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

    private static List<HttpMethod> allowed(boolean isQuestion, String[] segments) {
        if (!isQuestion) {
            return List.of(HttpMethod.POST);
        }
        // Load balancers may ask for the status alone.
        return segments[1].equals(PING)
                ? List.of(HttpMethod.GET, HttpMethod.HEAD)
                : List.of(HttpMethod.GET);
    }

    private static boolean isForDocuments(String[] segments) {
        if (segments.length < 2 || !segments[0].isEmpty()) {
            return false;
        }
        return segments[1].equals("invocations")
                ? segments.length == 2
                : segments[1].equals("predictions")
                        && (segments.length == 3 || segments.length == 4);
    }

    /** Whether it can be told where the body ends, by everybody in the same way. */
    private static boolean hasLength(HttpHeaders headers) {
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
