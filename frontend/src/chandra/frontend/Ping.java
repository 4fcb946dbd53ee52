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
 * GET or HEAD /ping: 200 while a page could be read now, else 503 and why not.
 *
 * <p>Takes the place of TorchServe's own, which is 200 before the model is loaded and for minutes
 * after it can no longer be.
 */
@Endpoint(
        urlPattern = "ping",
        endpointType = EndpointTypes.INFERENCE,
        description = "200 while a page could be read now")
public class Ping extends ModelServerEndpoint {
    @Override
    public void doGet(Request request, Response response, Context context) throws IOException {
        WorkerState state = WorkerState.read(context);
        response.setStatus(state.isReady() ? 200 : 503);
        response.setContentType("application/json");
        response.setHeader("Cache-Control", "no-store");
        String body =
                "{\"status\": \"" + state.word.replaceAll("[^a-z ]", "")
                        + "\", \"open\": " + Admission.numOpen()
                        + ", \"fallbacks\": " + list(state.fallbacks) + "}\n";
        response.getOutputStream().write(body.getBytes(StandardCharsets.UTF_8));
    }

    /** Codes that are separated by spaces, as a JSON list. */
    private static String list(String codes) {
        String known = codes.replaceAll("[^a-z_ ]", "").trim();
        return known.isEmpty() ? "[]" : "[\"" + known.replaceAll(" +", "\", \"") + "\"]";
    }
}
