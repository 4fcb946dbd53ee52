package org.pytorch.serve.wlm;

import java.net.HttpURLConnection;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.pytorch.serve.job.Job;
import org.pytorch.serve.util.messages.BaseModelRequest;
import org.pytorch.serve.util.messages.ModelWorkerResponse;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Continuous batching that answers every request whose worker process exits.
 *
 * <p>When a worker process exits, TorchServe interrupts the thread that communicates with it. A
 * thread that waits for a reply then answers all requests of the call with an error. A thread that
 * is between two calls, in {@link #getRequest}, has no call, and TorchServe forgets its requests:
 * their clients would wait forever. This class answers those that the process has received, and
 * returns the others to the queue. It also discards replies of a process that has been replaced.
 *
 * <p>It is in TorchServe's package because the fields that it replaces are not public. Not
 * thread-safe: only the thread of the worker uses it.
 */
public final class CrashSafeBatching extends ContinuousBatching {
    private static final Logger LOGGER = LoggerFactory.getLogger(CrashSafeBatching.class);

    /** Replies of the worker that its thread has not taken yet. */
    private final Queue<ModelWorkerResponse> replies;

    private CrashSafeBatching(WorkerThread worker) {
        super(worker.model);
        // The thread may be waiting in the replaced object, which will then add to this map.
        jobs = worker.aggregator.jobs;
        replies = worker.replies;
    }

    /**
     * Replaces the continuous batching of all workers.
     *
     * <p>Call it before the server accepts requests. The workers keep this object when their
     * process is replaced.
     */
    public static void install() {
        ModelManager manager = ModelManager.getInstance();
        for (Model model : manager.getDefaultModels().values()) {
            for (WorkerThread worker : manager.getWorkers(model.getModelVersionName())) {
                if (worker.aggregator.getClass() == ContinuousBatching.class) {
                    worker.aggregator = new CrashSafeBatching(worker);
                }
            }
        }
    }

    @Override
    public BaseModelRequest getRequest(String threadName, WorkerState state)
            throws InterruptedException, ExecutionException {
        if (state == WorkerState.WORKER_STARTED) {
            // A late reply of the previous process would count as the new one's reply to the
            // command to load the model, and the new process would never get that command.
            replies.clear();
        }
        // The process has received the jobs of earlier calls.
        Set<String> receivedIds = Set.copyOf(jobs.keySet());
        try {
            return super.getRequest(threadName, state);
        } catch (InterruptedException | ExecutionException | RuntimeException e) {
            releaseJobs(receivedIds);
            throw e;
        }
    }

    /**
     * Answers the jobs that the process has received, and returns the others to the front of the
     * queue.
     */
    private void releaseJobs(Set<String> receivedIds) {
        Deque<Job> newestFirst = new ArrayDeque<>();
        jobs.values().stream().filter(job -> !job.isControlCmd()).forEach(newestFirst::push);
        jobs.clear();
        int numAnswered = 0;
        for (Job job : newestFirst) {
            if (receivedIds.contains(job.getJobId()) || !returnToQueue(job)) {
                // The text is that of TorchServe's own error, which Rejection recognises.
                job.sendError(HttpURLConnection.HTTP_INTERNAL_ERROR, "Worker died.");
                numAnswered += 1;
            }
        }
        if (numAnswered > 0) {
            LOGGER.warn("the worker exited between two calls, with {} open requests", numAnswered);
        }
    }

    /** Returns false if the queue is full. */
    private boolean returnToQueue(Job job) {
        try {
            model.addFirst(job);
            return true;
        } catch (IllegalStateException e) {
            return false;
        }
    }
}
