package chandra.frontend;

import static org.pytorch.serve.wlm.WorkerState.WORKER_MODEL_LOADED;
import static org.pytorch.serve.wlm.WorkerState.WORKER_STOPPED;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import org.pytorch.serve.servingsdk.Context;
import org.pytorch.serve.servingsdk.Worker;
import org.pytorch.serve.wlm.Model;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerThread;

/**
 * State of the worker and its engine. TorchServe knows the state of the worker, and the worker
 * publishes the state of its engine in a small file, which it rewrites every second.
 */
final class WorkerState {
    /** Maximum age of the file. A live worker writes every second; a stopped one does not. */
    private static final long MAX_AGE_MILLISECONDS = 10_000;

    /** {@code ready}, or the reason why the server is not ready. */
    final String reason;

    /** Number of pages that the engine processes at the same time; 0 if unknown. */
    final int slots;

    /** Codes of the optimisations that the engine disabled, separated by spaces. */
    final String fallbacks;

    private WorkerState(String reason, int slots) {
        this(reason, slots, "");
    }

    private WorkerState(String reason, int slots, String fallbacks) {
        this.reason = reason;
        this.slots = slots;
        this.fallbacks = fallbacks;
    }

    static WorkerState read(Context context) {
        String folder = context.getConfig().getProperty("chandra_state_dir", "");
        if (!folder.isEmpty() && Files.exists(Path.of(folder, "draining"))) {
            return new WorkerState("draining", 0);
        }
        if (!hasWorker(context)) {
            return new WorkerState("no worker", 0);
        }
        if (folder.isEmpty()) {
            // TorchServe's own command started the server, so the worker publishes no state.
            return new WorkerState("ready", 0);
        }
        Path file = Path.of(folder, "state");
        Properties properties = new Properties();
        long age;
        try (Reader reader = Files.newBufferedReader(file)) {
            properties.load(reader);
            age = System.currentTimeMillis() - Files.getLastModifiedTime(file).toMillis();
        } catch (IOException | IllegalArgumentException e) {
            return new WorkerState("unknown", 0);
        }
        if (age > MAX_AGE_MILLISECONDS) {
            return new WorkerState("silent", 0);
        }
        return new WorkerState(
                properties.getProperty("state", "unknown"),
                parseNumber(properties, "slots", 0),
                properties.getProperty("fallbacks", ""));
    }

    boolean isReady() {
        return reason.equals("ready");
    }

    /**
     * True if TorchServe has stopped trying to restart a worker. It would then keep a document
     * forever and never respond.
     */
    static boolean isGivenUp() {
        return ModelManager.getInstance().getDefaultModels().values().stream()
                .anyMatch(WorkerState::isGivenUp);
    }

    /** True if TorchServe has stopped trying to restart the workers of this model. */
    static boolean isGivenUp(Model model) {
        List<WorkerThread> workers =
                ModelManager.getInstance().getWorkers(model.getModelVersionName());
        return !workers.isEmpty() && workers.stream().noneMatch(WorkerThread::isHealthy);
    }

    /** True if no process of this model's workers is running or being started. */
    static boolean isStopped(Model model) {
        return ModelManager.getInstance().getWorkers(model.getModelVersionName()).stream()
                .allMatch(worker -> worker.getState() == WORKER_STOPPED);
    }

    /** True if a worker has loaded the model and can accept a document. */
    static boolean hasLoadedWorker() {
        ModelManager manager = ModelManager.getInstance();
        return manager.getDefaultModels().values().stream()
                .flatMap(model -> manager.getWorkers(model.getModelVersionName()).stream())
                .anyMatch(worker -> worker.getState() == WORKER_MODEL_LOADED);
    }

    static int parseNumber(Properties properties, String key, int otherwise) {
        try {
            return Integer.parseInt(properties.getProperty(key, "").trim());
        } catch (NumberFormatException e) {
            return otherwise;
        }
    }

    /** True if there is a model, and every model has a worker that has loaded it. */
    private static boolean hasWorker(Context context) {
        return !context.getModels().isEmpty()
                && context.getModels().values().stream()
                        .allMatch(
                                model ->
                                        model.getModelWorkers().stream()
                                                .anyMatch(Worker::isRunning));
    }
}
