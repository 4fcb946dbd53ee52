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
 * GET /execution-parameters: what a batch transform job does where it does not say otherwise.
 *
 * <p>A document cannot be split into records, and as many are sent at once as the engine has places
 * for pages.
 */
@Endpoint(
        urlPattern = "execution-parameters",
        endpointType = EndpointTypes.INFERENCE,
        description = "defaults of a batch transform job")
public class ExecutionParameters extends ModelServerEndpoint {
    /** SageMaker refuses a job whose concurrency times payload is above this. */
    private static final int MAX_MEGABYTES = 100;

    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        int payload = WorkerState.number(context.getConfig(), "chandra_max_payload_mb", 25);
        payload = Math.max(1, Math.min(payload, MAX_MEGABYTES));
        WorkerState state = WorkerState.read(context);
        int concurrency = Math.max(1, Math.min(state.slots, MAX_MEGABYTES / payload));
        // Not known before the engine is there; SageMaker asks after /ping.
        response.setStatus(state.isReady() ? 200 : 503);
        response.setContentType("application/json");
        String body =
                "{\"MaxConcurrentTransforms\": " + concurrency
                        + ", \"BatchStrategy\": \"SINGLE_RECORD\""
                        + ", \"MaxPayloadInMB\": " + payload + "}\n";
        response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
    }
}
