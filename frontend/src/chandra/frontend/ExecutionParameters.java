package chandra.frontend;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.pytorch.serve.servingsdk.Context;
import org.pytorch.serve.servingsdk.ModelServerEndpoint;
import org.pytorch.serve.servingsdk.annotations.Endpoint;
import org.pytorch.serve.servingsdk.annotations.helpers.EndpointTypes;
import org.pytorch.serve.servingsdk.http.Request;
import org.pytorch.serve.servingsdk.http.Response;

/**
 * Endpoint GET /execution-parameters with the default parameters of a batch transform job.
 *
 * <p>A document cannot be split into records. The concurrency is the number of slots of the engine.
 */
@Endpoint(
        urlPattern = "execution-parameters",
        endpointType = EndpointTypes.INFERENCE,
        description = "defaults of a batch transform job")
public class ExecutionParameters extends ModelServerEndpoint {
    /** SageMaker rejects a job whose concurrency times payload exceeds this. */
    private static final int MAX_MEGABYTES = 100;

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        int payload = WorkerState.parseNumber(context.getConfig(), "chandra_max_payload_mb", 25);
        payload = Math.max(1, Math.min(payload, MAX_MEGABYTES));
        WorkerState state = WorkerState.read(context);
        int concurrency = Math.max(1, Math.min(state.slots, MAX_MEGABYTES / payload));
        // The number of slots is unknown before the engine is ready. SageMaker asks after /ping is
        // 200.
        response.setStatus(state.isReady() ? 200 : 503);
        response.setContentType("application/json");
        String body =
                "{\"MaxConcurrentTransforms\": " + concurrency
                        + ", \"BatchStrategy\": \"SINGLE_RECORD\""
                        + ", \"MaxPayloadInMB\": " + payload + "}\n";
        response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
    }
}
