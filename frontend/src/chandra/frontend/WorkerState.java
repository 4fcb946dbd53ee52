package chandra.frontend;

import static org.pytorch.serve.wlm.WorkerState.WORKER_MODEL_LOADED;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import org.pytorch.serve.servingsdk.Context;
import org.pytorch.serve.servingsdk.Worker;
import org.pytorch.serve.wlm.ModelManager;
import org.pytorch.serve.wlm.WorkerThread;

/**
 * What can be said of the model just now: by TorchServe of its worker, and by the worker of its
 * engine, in a small file that it writes again every second.
 */
final class WorkerState {
    /** A worker that is alive writes every second; one that was stopped or hangs does not. */
    private static final long MAX_AGE_MILLISECONDS = 10_000;

    /** ready, or the reason why not. */
    final String word;

    /** Pages the engine holds at once; 0 where that is not known yet. */
    final int slots;

    /** Codes of the optimisations that the engine gave up at start, separated by spaces. */
    final String fallbacks;

    private WorkerState(String word, int slots) {
        this(word, slots, "");
    }

    private WorkerState(String word, int slots, String fallbacks) {
        this.word = word;
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
            // TorchServe's own command has started us, and the worker writes no state.
            return new WorkerState("ready", 0);
        }
        Path file = Path.of(folder, "state");
        Properties said = new Properties();
        long age;
        try (Reader reader = Files.newBufferedReader(file)) {
            said.load(reader);
            age = System.currentTimeMillis() - Files.getLastModifiedTime(file).toMillis();
        } catch (IOException | IllegalArgumentException e) {
            return new WorkerState("unknown", 0);
        }
        if (age > MAX_AGE_MILLISECONDS) {
            return new WorkerState("silent", 0);
        }
        return new WorkerState(
                said.getProperty("state", "unknown"),
                number(said, "slots", 0),
                said.getProperty("fallbacks", ""));
    }

    boolean isReady() {
        return word.equals("ready");
    }

    /**
     * Whether TorchServe has stopped trying to start a worker again. It would keep a document for
     * ever then, and answer nothing.
     */
    static boolean isGivenUp() {
        ModelManager manager = ModelManager.getInstance();
        return manager.getDefaultModels().values().stream()
                .map(model -> manager.getWorkers(model.getModelVersionName()))
                .anyMatch(
                        workers ->
                                !workers.isEmpty()
                                        && workers.stream().noneMatch(WorkerThread::isHealthy));
    }

    /** Whether some worker has loaded the model and can take a document now. */
    static boolean hasLoadedWorker() {
        ModelManager manager = ModelManager.getInstance();
        return manager.getDefaultModels().values().stream()
                .flatMap(model -> manager.getWorkers(model.getModelVersionName()).stream())
                .anyMatch(worker -> worker.getState() == WORKER_MODEL_LOADED);
    }

    static int number(Properties properties, String key, int otherwise) {
        try {
            return Integer.parseInt(properties.getProperty(key, "").trim());
        } catch (NumberFormatException e) {
            return otherwise;
        }
    }

    /** Whether every model has a worker that has loaded it; without a model there is none. */
    private static boolean hasWorker(Context context) {
        return !context.getModels().isEmpty()
                && context.getModels().values().stream()
                        .allMatch(
                                model ->
                                        model.getModelWorkers().stream()
                                                .anyMatch(Worker::isRunning));
    }
}
