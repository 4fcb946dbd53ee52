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
 * Checks which host a request is meant for, and which web page has sent it.
 *
 * <p>A web page may point a name of its own at 127.0.0.1 (DNS rebinding) and then send requests to
 * a server that only listens there. The browser still names the page's host in {@code Host} and in
 * {@code Origin}, so a server on loopback answers to loopback names only.
 */
final class Hosts {
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

    /** Reads {@code chandra_allowed_hosts} for a server that listens on an address. */
    Hosts(ConfigManager config, SocketAddress address) {
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
     * Returns why a request is refused for its host or origin; null where it is not.
     *
     * <p>Replaces an absolute-form target by its path, as TorchServe knows no other form.
     */
    Refusal refusal(HttpRequest request) {
        List<String> hosts = request.headers().getAll(HttpHeaderNames.HOST);
        // HTTP/1.0 has no Host; no browser sends it, load balancers do.
        boolean isOptional = request.protocolVersion().compareTo(HttpVersion.HTTP_1_1) < 0;
        if (hosts.size() > 1 || hosts.isEmpty() && !isOptional) {
            return Refusal.malformed("there must be one Host header");
        }
        if (hosts.isEmpty()) {
            // The handler takes a request without any header for one of gRPC's.
            request.headers().set(HttpHeaderNames.HOST, "localhost");
        }
        String host = hosts.isEmpty() ? null : hosts.get(0).trim();
        if (host != null && !HOST.matcher(host).matches()) {
            return Refusal.malformed("the Host header names no host");
        }
        Matcher target = ABSOLUTE_TARGET.matcher(request.uri());
        if (target.matches()) {
            // RFC 9112, 3.2.2: the target's host counts, and not the header's.
            host = target.group(1);
            if (!HOST.matcher(host).matches()) {
                return Refusal.malformed("the address names no host");
            }
            String path = target.group(2);
            request.setUri(path.startsWith("/") ? path : "/" + path);
        }
        if (!isRestricted) {
            return null;
        }
        if (host != null && !isAllowed(HOST.matcher(host))) {
            return Refusal.forbidden("this server does not answer to that Host");
        }
        for (String origin : request.headers().getAll(HttpHeaderNames.ORIGIN)) {
            if (!isAllowed(ORIGIN.matcher(origin.trim()))) {
                return Refusal.forbidden("this server takes no requests of that Origin");
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
