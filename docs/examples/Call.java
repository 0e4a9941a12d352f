import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * Counts an issuer's stamps and creates one contract: java Call.java ACCOUNT RFC STAMPS KEY
 *
 * <p>Needs only a JDK, 11 or later. TIMBRES_API_URL, AWS_REGION and the access keys are
 * environment variables.
 */
public class Call {
    static final String API = System.getenv("TIMBRES_API_URL");
    static final String REGION = System.getenv("AWS_REGION");
    static final String ACCESS_KEY = System.getenv("AWS_ACCESS_KEY_ID");
    static final String SECRET_KEY = System.getenv("AWS_SECRET_ACCESS_KEY");
    // Only temporary keys, for example those of a role, have a session token.
    static final String SESSION_TOKEN = System.getenv().getOrDefault("AWS_SESSION_TOKEN", "");

    static final HttpClient CLIENT = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(5))
            .build();

    /** Sends one signed request; returns the response with any status. */
    static HttpResponse<String> call(
            String method, String path, Map<String, String> query, String body,
            Map<String, String> headers) throws Exception {
        String parameters = new TreeMap<>(query).entrySet().stream()
                .map(entry -> encode(entry.getKey()) + "=" + encode(entry.getValue()))
                .collect(Collectors.joining("&"));
        URI uri = URI.create(API + path + (parameters.isEmpty() ? "" : "?" + parameters));
        // 35 seconds: the API times out after 29.
        HttpRequest.Builder request = HttpRequest.newBuilder(uri)
                .timeout(Duration.ofSeconds(35))
                .header("Content-Type", "application/json")
                .method(method, BodyPublishers.ofString(body));
        headers.forEach(request::header);
        sign(request, method, uri, body);
        return CLIENT.send(request.build(), BodyHandlers.ofString());
    }

    /** Creates a contract; returns the response. The key always identifies this one contract. */
    static HttpResponse<String> contractStamps(String account, String rfc, int stamps, String key)
            throws Exception {
        String body = String.format("{\"rfc\": \"%s\", \"stamps\": %d}", rfc, stamps);
        for (int pause = 1; ; pause *= 2) {
            boolean last = pause > 8;
            long seconds = pause;
            try {
                HttpResponse<String> response = call("POST", "/accounts/" + account + "/contracts",
                        Map.of(), body, Map.of("Idempotency-Key", key));
                if (last || !shouldRepeat(response)) {
                    return response;
                }
                seconds = response.headers().firstValueAsLong("Retry-After").orElse(pause);
            } catch (java.io.IOException noResponse) {
                if (last) {
                    throw noResponse;
                }
            }
            Thread.sleep(seconds * 1000);
        }
    }

    /** Returns whether to repeat the request now, with the same key. */
    static boolean shouldRepeat(HttpResponse<String> response) {
        // Use a JSON library to read these members if one is available.
        if (response.statusCode() == 429 || response.statusCode() >= 500) {
            // With a contract: it is rejected.
            return !response.body().contains("\"contract\":");
        }
        return response.body().contains("\"code\":\"contract-pending\"");
    }

    /** Adds the headers of AWS Signature Version 4 for execute-api. */
    static void sign(HttpRequest.Builder request, String method, URI uri, String body)
            throws Exception {
        String moment = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'")
                .format(ZonedDateTime.now(ZoneOffset.UTC));
        TreeMap<String, String> signed = new TreeMap<>();
        signed.put("host", uri.getRawAuthority());
        signed.put("x-amz-date", moment);
        if (!SESSION_TOKEN.isEmpty()) {
            signed.put("x-amz-security-token", SESSION_TOKEN);
        }
        String names = String.join(";", signed.keySet());
        String lines = signed.entrySet().stream()
                .map(header -> header.getKey() + ":" + header.getValue() + "\n")
                .collect(Collectors.joining());
        String query = uri.getRawQuery() == null ? "" : uri.getRawQuery();
        String canonical = String.join("\n",
                method, uri.getRawPath(), query, lines, names, hex(sha256(body)));

        String day = moment.substring(0, 8);
        String scope = String.join("/", day, REGION, "execute-api", "aws4_request");
        String toSign = String.join("\n",
                "AWS4-HMAC-SHA256", moment, scope, hex(sha256(canonical)));
        byte[] key = ("AWS4" + SECRET_KEY).getBytes(StandardCharsets.UTF_8);
        for (String part : scope.split("/")) {
            key = hmac(key, part);
        }
        signed.remove("host"); // The client sends this header itself.
        signed.forEach(request::header);
        request.header("Authorization", String.format(
                "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                ACCESS_KEY, scope, names, hex(hmac(key, toSign))));
    }

    /** Percent-encodes as the signature requires: URLEncoder encodes for forms. */
    static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8)
                .replace("+", "%20").replace("*", "%2A").replace("%7E", "~");
    }

    static byte[] sha256(String text) throws Exception {
        return MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
    }

    static byte[] hmac(byte[] key, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }

    static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte value : bytes) {
            text.append(String.format("%02x", value));
        }
        return text.toString();
    }

    public static void main(String[] arguments) throws Exception {
        String account = arguments[0];
        String rfc = arguments[1];
        HttpResponse<String> count = call(
                "GET", "/accounts/" + account + "/stamps", Map.of("rfc", rfc), "", Map.of());
        System.out.println(count.statusCode() + " " + count.body());
        HttpResponse<String> contract =
                contractStamps(account, rfc, Integer.parseInt(arguments[2]), arguments[3]);
        System.out.println(contract.statusCode() + " " + contract.body());
    }
}
