#include "completions.h"

#include <anydraft/error.h>
#include <httplib.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "service.h"

using nlohmann::json;

namespace {

// How soon a client that has gone is noticed, once its first text was there.
constexpr std::chrono::milliseconds kPoll{50};

struct Refusal : std::runtime_error {
  Refusal(int status_code, const std::string& what)
      : std::runtime_error(what), status(status_code) {}
  int status;
};

// What a model of bytes makes need not be UTF-8; JSON must be.
std::string text_of(const json& body) {
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

json error_body(const std::string& message, int status) {
  const char* type = status < 500 ? "invalid_request_error" : "server_error";
  return {{"error", {{"message", message}, {"type", type}, {"code", status}}}};
}

bool is_given(const json& body, const char* name) {
  const auto found = body.find(name);
  return found != body.end() && !found->is_null();
}

// A field of the wanted kind, or the value for where it is not given.
template <class T>
T field(const json& body, const char* name, T otherwise, bool (json::*is)() const,
        const char* kind) {
  if (!is_given(body, name)) return otherwise;
  const json& found = body[name];
  if (!(found.*is)()) {
    throw Refusal(400,
                  std::string("expected ") + name + " to be " + kind + ", got " + text_of(found));
  }
  return found.get<T>();
}

struct Asked {
  std::string prompt;
  bool stream;
  anydraft::Request request;
};

Asked parse(const std::string& content, const std::string& model) {
  const json body = json::parse(content, nullptr, false);
  if (!body.is_object()) throw Refusal(400, "expected a body of JSON, an object");
  static const std::set<std::string> known{"model", "prompt", "stream", "max_tokens", "temperature",
                                           "top_k", "top_p",  "min_p",  "seed"};
  for (const auto& item : body.items()) {
    if (known.count(item.key()) == 0) throw Refusal(400, "unknown field: " + item.key());
  }
  constexpr auto number = &json::is_number;
  constexpr auto whole = &json::is_number_integer;
  const auto name = field<std::string>(body, "model", model, &json::is_string, "text");
  if (name != model) throw Refusal(404, "expected model " + model + ", got " + name);
  if (!is_given(body, "prompt")) throw Refusal(400, "expected a prompt");

  Asked asked;
  asked.prompt = field<std::string>(body, "prompt", "", &json::is_string, "text");
  asked.stream = field<bool>(body, "stream", false, &json::is_boolean, "true or false");
  anydraft::SamplingParams& sampling = asked.request.sampling;
  sampling.temperature = field<double>(body, "temperature", 1, number, "a number");
  sampling.top_p = field<double>(body, "top_p", 1, number, "a number");
  sampling.min_p = field<double>(body, "min_p", 0, number, "a number");
  const auto top_k = field<int64_t>(body, "top_k", 0, whole, "a whole number");
  const auto most = field<int64_t>(body, "max_tokens", 256, whole, "a whole number");
  constexpr int64_t limit = std::numeric_limits<int32_t>::max();
  if (top_k < 0 || top_k > limit) throw Refusal(400, "expected top_k >= 0");
  if (most < 1 || most > limit) throw Refusal(400, "expected max_tokens >= 1");
  sampling.top_k = static_cast<int32_t>(top_k);
  asked.request.max_tokens = static_cast<int32_t>(most);
  if (is_given(body, "seed")) {
    sampling.seed = field<uint64_t>(body, "seed", 0, &json::is_number_unsigned, "a number >= 0");
  }
  return asked;
}

json choice(const std::string& model, const std::string& text, const char* reason) {
  const json one{{"index", 0}, {"text", text}, {"finish_reason", reason ? json(reason) : json()}};
  return {{"object", "text_completion"}, {"model", model}, {"choices", json::array({one})}};
}

json last(const std::string& model, const std::string& text, const Stream& stream) {
  if (stream.finish_reason() == nullptr) {
    return error_body(stream.error(), stream.callers_fault() ? 400 : 500);
  }
  json body = choice(model, text, stream.finish_reason());
  body["usage"] = {{"prompt_tokens", stream.prompt_tokens()},
                   {"completion_tokens", stream.tokens()},
                   {"target_calls", stream.stats().target_calls},
                   {"accepted_tokens", stream.stats().accepted}};
  return body;
}

bool send(httplib::DataSink& sink, const std::string& text) {
  return sink.write(text.data(), text.size());
}

// What the client is sent from now on: pieces as they come, or the whole at the end. Returns false
// once the client has gone.
bool relay(const std::string& model, bool pieces, Stream& stream, std::string first,
           httplib::DataSink& sink) {
  std::string whole = std::move(first), text;
  for (;;) {
    if (pieces && !whole.empty()) {
      if (!send(sink, "data: " + text_of(choice(model, whole, nullptr)) + "\n\n")) return false;
      whole.clear();
    }
    const Stream::Got got = stream.read(text, kPoll);
    if (got == Stream::Got::kEnd) break;
    if (!sink.is_writable()) return false;
    whole += text;
  }
  const std::string body = text_of(last(model, whole, stream));
  if (!send(sink, pieces ? "data: " + body + "\n\ndata: [DONE]\n\n" : body)) return false;
  sink.done();
  return true;
}

void answer(Service& service, const std::string& model, const std::string& content,
            httplib::Response& response) {
  Asked asked = parse(content, model);
  const std::shared_ptr<Stream> stream = service.submit(asked.prompt, asked.request);
  // What is refused is refused with its status, so that is waited for.
  std::string first;
  Stream::Got got;
  do got = stream->read(first, kPoll);
  while (got == Stream::Got::kNothing);
  if (got == Stream::Got::kEnd && stream->finish_reason() == nullptr) {
    throw Refusal(stream->callers_fault() ? 400 : 500, stream->error());
  }
  const bool pieces = asked.stream;
  response.set_chunked_content_provider(
      pieces ? "text/event-stream" : "application/json",
      [=](size_t, httplib::DataSink& sink) { return relay(model, pieces, *stream, first, sink); },
      [stream](bool) { stream->cancel(); });  // of one that has ended it means nothing
}

}  // namespace

void complete(Service& service, const std::string& model, const httplib::Request& request,
              httplib::Response& response) {
  int status = 500;
  std::string message;
  try {
    return answer(service, model, request.body, response);
  } catch (const Refusal& error) {
    status = error.status;
    message = error.what();
  } catch (const Busy& error) {
    status = 503;
    message = error.what();
  } catch (const anydraft::Error& error) {  // a prompt that is no UTF-8, say
    status = error.kind() == anydraft::ErrorKind::kValue ? 400 : 500;
    message = error.what();
  }
  response.status = status;
  response.set_content(text_of(error_body(message, status)), "application/json");
}
