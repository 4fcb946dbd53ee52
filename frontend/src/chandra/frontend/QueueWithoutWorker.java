package chandra.frontend;

import java.net.HttpURLConnection;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Queue of a model whose workers could not be started for {@code maxRetryTimeoutInSec}.
 *
 * <p>TorchServe would keep the requests without a response. They are answered with an error here,
 * as {@link Admission} rejects new requests in the same state.
 */
final class QueueWithoutWorker {
    private static final Logger LOGGER = LoggerFactory.getLogger(QueueWithoutWorker.class);

    private static final long CHECK_SECONDS = 1;

    private QueueWithoutWorker() {}

    /** Starts to check the queues of all models every second. Call it once. */
    static void watch() {
        ModelManager.getInstance()
                .getScheduler()
                .scheduleWithFixedDelay(
                        QueueWithoutWorker::answerQueues,
                        CHECK_SECONDS,
                        CHECK_SECONDS,
                        TimeUnit.SECONDS);
    }

    private static void answerQueues() {
        for (Model model : ModelManager.getInstance().getDefaultModels().values()) {
            if (WorkerState.isGivenUp(model) && WorkerState.isStopped(model)) {
                answerQueue(model);
            }
        }
    }

    private static void answerQueue(Model model) {
        Map<String, Job> next = new HashMap<>();
        int numAnswered = 0;
        try {
            // pollInferJob would wait in an empty queue, with the lock that a worker needs.
            while (model.pollMgmtJob(Model.DEFAULT_DATA_QUEUE, 0, next)) {
                for (Job job : next.values()) {
                    // The text is that of TorchServe's own error, which Rejection recognises.
                    job.sendError(HttpURLConnection.HTTP_UNAVAILABLE, "There is no worker.");
                }
                next.clear();
                numAnswered += 1;
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (RuntimeException e) {
            // An exception would cancel the checks.
            LOGGER.error("cannot answer the requests in the queue", e);
        }
        if (numAnswered > 0) {
            LOGGER.warn("no worker runs: answered {} requests in the queue", numAnswered);
        }
    }
}
