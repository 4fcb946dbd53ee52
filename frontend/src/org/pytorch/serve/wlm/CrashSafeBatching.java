package org.pytorch.serve.wlm;

import java.net.HttpURLConnection;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
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
 * returns the others to the queue. Once TorchServe has stopped trying to start a worker, it also
 * answers the requests in the queue. It discards replies of a process that has been replaced.
 *
 * <p>It is in TorchServe's package because the fields that it replaces are not public. Not
 * thread-safe: only the thread of the worker uses it.
 */
public final class CrashSafeBatching extends ContinuousBatching {
    private static final Logger LOGGER = LoggerFactory.getLogger(CrashSafeBatching.class);

    private static final long CHECK_SECONDS = 1;

    /** Replies of the worker that its thread has not taken yet. */
    private final Queue<ModelWorkerResponse> replies;

    private CrashSafeBatching(Model model, Queue<ModelWorkerResponse> replies) {
        super(model);
        this.replies = replies;
    }

    /**
     * Replaces the continuous batching of all workers.
     *
     * <p>Must be called before the server accepts requests. The workers are then still being
     * started, and keep this object when their process is replaced.
     */
    public static void install() {
        ModelManager manager = ModelManager.getInstance();
        for (Model model : manager.getDefaultModels().values()) {
            for (WorkerThread worker : manager.getWorkers(model.getModelVersionName())) {
                if (worker.aggregator.getClass() == ContinuousBatching.class) {
                    worker.aggregator = new CrashSafeBatching(model, worker.replies);
                    manager.getScheduler()
                            .scheduleWithFixedDelay(
                                    () -> answerQueue(worker),
                                    CHECK_SECONDS,
                                    CHECK_SECONDS,
                                    TimeUnit.SECONDS);
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
        Set<String> received = Set.copyOf(jobs.keySet());
        boolean isInterrupted = true;
        try {
            BaseModelRequest request = super.getRequest(threadName, state);
            isInterrupted = false;
            return request;
        } finally {
            if (isInterrupted) {
                giveUp(received);
            }
        }
    }

    /**
     * Answers the jobs that the process has received, and returns the others to the front of the
     * queue.
     */
    private void giveUp(Set<String> received) {
        Deque<Job> newestFirst = new ArrayDeque<>();
        jobs.values().stream().filter(job -> !job.isControlCmd()).forEach(newestFirst::push);
        jobs.clear();
        int numAnswered = 0;
        for (Job job : newestFirst) {
            if (received.contains(job.getJobId()) || !returnToQueue(job)) {
                job.sendError(HttpURLConnection.HTTP_INTERNAL_ERROR, "Worker died.");
                numAnswered += 1;
            }
        }
        if (numAnswered > 0) {
            LOGGER.warn("the worker exited between two calls, with {} open requests", numAnswered);
        }
    }

    /** Answers the requests in the queue if the worker's process will not be started again. */
    private static void answerQueue(WorkerThread worker) {
        if (worker.isHealthy() || worker.getState() != WorkerState.WORKER_STOPPED) {
            return;
        }
        int numWaiting = worker.model.getPendingRequestsInJobQueue();
        if (numWaiting == 0) {
            return;
        }
        Map<String, Job> waiting = new LinkedHashMap<>();
        try {
            worker.model.pollInferJob(waiting, numWaiting);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        for (Job job : waiting.values()) {
            job.sendError(HttpURLConnection.HTTP_UNAVAILABLE, "There is no worker.");
        }
        LOGGER.warn("no worker is started any more, with {} requests in the queue", numWaiting);
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
