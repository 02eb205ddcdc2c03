// POST /v1/completions: what is asked for, and the answer whole or as server-sent events.
#pragma once

#include <string>

namespace httplib {
struct Request;
struct Response;
}  // namespace httplib
class Service;

// `model`: the name that a request may give.
void complete(Service& service, const std::string& model, const httplib::Request& request,
              httplib::Response& response);
