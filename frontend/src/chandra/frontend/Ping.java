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
 * Readiness endpoint GET or HEAD /ping: 200 while the server can read a page, otherwise 503 with
 * the reason.
 *
 * <p>Replaces TorchServe's own endpoint, which returns 200 before the model is loaded and for
 * minutes after the worker has failed.
 */
@Endpoint(
        urlPattern = "ping",
        endpointType = EndpointTypes.INFERENCE,
        description = "200 while the server can read a page")
public class Ping extends ModelServerEndpoint {
    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        WorkerState state = WorkerState.read(context);
        response.setStatus(state.isReady() ? 200 : 503);
        response.setContentType("application/json");
        response.setHeader("Cache-Control", "no-store");
        String body =
                "{\"status\": \"" + state.reason.replaceAll("[^a-z ]", "")
                        + "\", \"open\": " + Admission.numOpen()
                        + ", \"fallbacks\": " + toJsonList(state.fallbacks) + "}\n";
        response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
    }

    /** Converts codes separated by spaces to a JSON list. */
    private static String toJsonList(String codes) {
        String known = codes.replaceAll("[^a-z_ ]", "").trim();
        return known.isEmpty() ? "[]" : "[\"" + known.replaceAll(" +", "\", \"") + "\"]";
    }
}
