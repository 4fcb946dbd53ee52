package chandra.frontend;

import io.netty.channel.Channel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.util.NettyUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A request whose client disconnected before the complete response was sent.
 *
 * <p>An empty file named by the request's id tells the worker. It exists until TorchServe has
 * released the request.
 */
final class Disconnection {
    private static final Logger LOGGER = LoggerFactory.getLogger(Disconnection.class);
    private static final long CHECK_MILLISECONDS = 200;

    /** Time after which TorchServe has released a started stream, which cannot be observed. */
    private static final long STREAM_SECONDS = 60;

    private final Channel channel;
    private final Path marker;
    private final String name;
    private final Runnable onReleased;
    private final long heldUntil;

    /**
     * Creates a disconnection for a request that has an id.
     *
     * <p>{@code onReleased} is called on the channel's event loop once TorchServe has released the
     * request.
     */
    Disconnection(Channel channel, Path folder, String name, Runnable onReleased) {
        this.channel = channel;
        this.marker = folder.resolve("gone").resolve(name);
        this.name = name;
        this.onReleased = onReleased;
        this.heldUntil =
                isUnanswered()
                        ? System.nanoTime()
                        : System.nanoTime() + TimeUnit.SECONDS.toNanos(STREAM_SECONDS);
    }

    void announce() {
        LOGGER.info("the client of {} disconnected", name);
        try {
            Files.createDirectories(marker.getParent());
            Files.createFile(marker);
        } catch (IOException e) {
            // The worker then reads the document to its end.
            LOGGER.warn("cannot tell the worker that a client disconnected: {}", e.toString());
        }
        check();
    }

    private void check() {
        if (isUnanswered() || System.nanoTime() - heldUntil < 0) {
            channel.eventLoop().schedule(this::check, CHECK_MILLISECONDS, TimeUnit.MILLISECONDS);
            return;
        }
        try {
            Files.deleteIfExists(marker);
        } catch (IOException e) {
            LOGGER.warn("cannot delete {}: {}", marker, e.toString());
        }
        onReleased.run();
    }

    /** True until TorchServe sends the first part of a response, when it removes the id. */
    private boolean isUnanswered() {
        return name.equals(NettyUtils.getRequestId(channel));
    }
}
