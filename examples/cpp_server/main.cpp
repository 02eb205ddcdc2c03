// Speculative decoding as an HTTP service in C++: completions, whole or streamed; requests that
// come at the same time share the models' calls.
//
//   server TARGET TARGET_TABLE DRAFTER DRAFTER_TABLE [PORT]
//
// Models are GGUF files or folders of safetensors; tables come from `anydraft vocab --export`. It
// listens on 127.0.0.1 alone: it has no keys and no TLS, so put a proxy in front.
#include <httplib.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "completions.h"
#include "service.h"

static std::string stem(const std::string& path) {
  const std::string name = path.substr(path.find_last_of('/') + 1);
  return name.substr(0, name.rfind(".gguf"));
}

static void routes(httplib::Server& http, Service& service, const std::string& model) {
  http.Post("/v1/completions", [&, model](const httplib::Request& asked, httplib::Response& told) {
    complete(service, model, asked, told);
  });
  http.Get("/v1/models", [model](const httplib::Request&, httplib::Response& told) {
    const nlohmann::json one{{"id", model}, {"object", "model"}};
    told.set_content(
        nlohmann::json{{"object", "list"}, {"data", nlohmann::json::array({one})}}.dump(),
        "application/json");
  });
  http.Get("/health", [&](const httplib::Request&, httplib::Response& told) {
    const Counts counts = service.counts();
    const nlohmann::json body{{"status", "ok"},
                              {"running", counts.running},
                              {"waiting", counts.waiting},
                              {"target_calls", counts.target_calls},
                              {"requests_fed", counts.requests_fed}};
    told.set_content(body.dump(), "application/json");
  });
}

static int serve(char** args, int port) {
  sigset_t signals;  // blocked here and in every thread to come; the one below takes them
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a client that has gone is an error of its own write

  ServiceOptions options{args[1], args[2], args[3], args[4]};
  // Each stream holds a thread of the HTTP library, which sleeps; the others refuse.
  const size_t threads = options.most_running + options.most_waiting + 8;
  Service service(options);
  httplib::Server http;
  http.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
  http.set_payload_max_length(1 << 20);
  http.set_tcp_nodelay(true);
  http.set_keep_alive_timeout(1);  // an idle connection holds a thread too
  routes(http, service, stem(args[1]));
  if (port == 0) {
    port = http.bind_to_any_port("127.0.0.1");
  } else if (!http.bind_to_port("127.0.0.1", port)) {
    port = -1;
  }
  if (port < 0) throw std::runtime_error("the port is taken");
  std::printf("%s\nlistening on http://127.0.0.1:%d\n", service.description().c_str(), port);
  std::fflush(stdout);
  std::atomic<bool> ended{false};
  std::thread waiter([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    service.stop();
    // A signal may have come before the server listens, and stop() means nothing until it does.
    while (!http.is_running() && !ended) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    http.stop();
  });
  const bool served = http.listen_after_bind();
  ended = true;
  pthread_kill(waiter.native_handle(), SIGTERM);  // where nobody asked it to end
  waiter.join();
  return served ? 0 : 1;
}

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    std::fputs("usage: server TARGET TARGET_TABLE DRAFTER DRAFTER_TABLE [PORT]\n", stderr);
    return 2;
  }
  try {
    return serve(argv, argc == 6 ? std::atoi(argv[5]) : 8080);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "server: %s\n", error.what());
    return 1;
  }
}
