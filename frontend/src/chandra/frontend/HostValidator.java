package chandra.frontend;

import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpVersion;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.pytorch.serve.util.ConfigManager;

/**
 * Validator of the headers {@code Host} and {@code Origin}, against DNS rebinding.
 *
 * <p>A web page may resolve its own host name to 127.0.0.1 and then send requests to a server that
 * only listens there. The browser still sends the page's host name in {@code Host} and {@code
 * Origin}, so a server on loopback accepts loopback names only.
 */
final class HostValidator {
    private static final String AUTHORITY =
            "(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?";
    private static final Pattern HOST = Pattern.compile(AUTHORITY);
    private static final Pattern ORIGIN = Pattern.compile("[A-Za-z][A-Za-z0-9+.-]*://" + AUTHORITY);
    private static final Pattern ABSOLUTE_TARGET =
            Pattern.compile("https?://([^/?#]*)(.*)", Pattern.CASE_INSENSITIVE);
    private static final Pattern LOOPBACK =
            Pattern.compile("localhost\\.?|127(\\.[0-9]{1,3}){3}|\\[::1\\]");
    private static final String ANY = "*";

    private final Set<String> allowed;
    private final boolean isRestricted;

    /** Creates a validator for a server that listens on the given address. */
    HostValidator(ConfigManager config, SocketAddress address) {
        allowed =
                Arrays.stream(config.getProperty("chandra_allowed_hosts", "").split(","))
                        .map(name -> name.trim().toLowerCase(Locale.ROOT))
                        .filter(name -> !name.isEmpty())
                        .collect(Collectors.toSet());
        boolean isLoopback =
                address instanceof InetSocketAddress
                        && ((InetSocketAddress) address).getAddress().isLoopbackAddress();
        isRestricted = !allowed.contains(ANY) && (isLoopback || !allowed.isEmpty());
    }

    /**
     * Returns the reason to reject a request for its host or origin; null if both are allowed.
     *
     * <p>Replaces an absolute-form target by its path, because TorchServe supports no other form.
     */
    Rejection validate(HttpRequest request) {
        List<String> hosts = request.headers().getAll(HttpHeaderNames.HOST);
        // HTTP/1.0 has no Host. Load balancers use it; browsers do not.
        boolean isOptional = request.protocolVersion().compareTo(HttpVersion.HTTP_1_1) < 0;
        if (hosts.size() > 1 || hosts.isEmpty() && !isOptional) {
            return Rejection.malformed("send exactly one Host header");
        }
        if (hosts.isEmpty()) {
            // The handler treats a request without any header as a gRPC request.
            request.headers().set(HttpHeaderNames.HOST, "localhost");
        }
        String host = hosts.isEmpty() ? null : hosts.get(0).trim();
        if (host != null && !HOST.matcher(host).matches()) {
            return Rejection.malformed("the Host header is not a valid host");
        }
        Matcher target = ABSOLUTE_TARGET.matcher(request.uri());
        if (target.matches()) {
            // RFC 9112, section 3.2.2: the host of the target overrides the Host header.
            host = target.group(1);
            if (!HOST.matcher(host).matches()) {
                return Rejection.malformed("the request target has no valid host");
            }
            String path = target.group(2);
            request.setUri(path.startsWith("/") ? path : "/" + path);
        }
        if (!isRestricted) {
            return null;
        }
        if (host != null && !isAllowed(HOST.matcher(host))) {
            return Rejection.forbidden("this server does not accept this Host");
        }
        for (String origin : request.headers().getAll(HttpHeaderNames.ORIGIN)) {
            if (!isAllowed(ORIGIN.matcher(origin.trim()))) {
                return Rejection.forbidden("this server does not accept requests from this Origin");
            }
        }
        return null;
    }

    private boolean isAllowed(Matcher authority) {
        if (!authority.matches()) {
            return false;
        }
        String name = authority.group(1).toLowerCase(Locale.ROOT);
        return LOOPBACK.matcher(name).matches() || allowed.contains(name);
    }
}
