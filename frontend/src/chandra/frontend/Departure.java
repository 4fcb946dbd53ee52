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
 * A document whose client has left before all of the answer was sent. The worker is told by an
 * empty file that has the request's name, and is there until TorchServe has let go of it.
 */
final class Departure {
    private static final Logger LOGGER = LoggerFactory.getLogger(Departure.class);
    private static final long LOOK_MILLISECONDS = 200;

    /** When TorchServe lets go of a stream that has begun cannot be seen; by then it has. */
    private static final long STREAM_SECONDS = 60;

    private final Channel channel;
    private final Path marker;
    private final String name;
    private final Runnable letGo;
    private final long begunUntil;

    /**
     * Of a request that TorchServe has named; {@code letGo} is called once it holds nothing of it
     * any more, by the channel's thread.
     */
    Departure(Channel channel, Path folder, String name, Runnable letGo) {
        this.channel = channel;
        this.marker = folder.resolve("gone").resolve(name);
        this.name = name;
        this.letGo = letGo;
        this.begunUntil =
                isUnanswered()
                        ? System.nanoTime()
                        : System.nanoTime() + TimeUnit.SECONDS.toNanos(STREAM_SECONDS);
    }

    void announce() {
        LOGGER.info("the client of {} has left", name);
        try {
            Files.createDirectories(marker.getParent());
            Files.createFile(marker);
        } catch (IOException e) {
            // Read to its end, then, for nobody.
            LOGGER.warn("the worker cannot be told that a client has left: {}", e.toString());
        }
        look();
    }

    private void look() {
        if (isUnanswered() || System.nanoTime() - begunUntil < 0) {
            channel.eventLoop().schedule(this::look, LOOK_MILLISECONDS, TimeUnit.MILLISECONDS);
            return;
        }
        try {
            Files.deleteIfExists(marker);
        } catch (IOException e) {
            LOGGER.warn("{} stays: {}", marker, e.toString());
        }
        letGo.run();
    }

    /** TorchServe takes the name from the connection with the first it sends of an answer. */
    private boolean isUnanswered() {
        return name.equals(NettyUtils.getRequestId(channel));
    }
}
