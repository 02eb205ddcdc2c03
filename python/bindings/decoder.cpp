#include "anydraft/decoder.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <optional>

#include "anydraft/error.h"
#include "bind.h"

namespace anydraft::bindings {
namespace {

namespace py = pybind11;

// Slots that lead the way as 0, 1, 2 ..., and the rest.
void set_keep(Feed& feed, const py::object& keep) {
  if (py::isinstance<py::int_>(keep)) {
    feed.keep = keep.cast<int64_t>();
    return;
  }
  if (PyRange_Check(keep.ptr()) && keep.attr("start").cast<int64_t>() == 0 &&
      keep.attr("step").cast<int64_t>() == 1) {
    feed.keep = static_cast<int64_t>(py::len(keep));
    return;
  }
  for (const auto slot : keep.cast<std::vector<int32_t>>()) {
    if (feed.keep_also.empty() && slot == feed.keep) {
      ++feed.keep;
    } else {
      feed.keep_also.push_back(slot);
    }
  }
}

// The core's Feed, or anything with its attributes.
Feed feed_of(const py::handle& object) {
  if (py::isinstance<Feed>(object)) return object.cast<Feed>();
  Feed feed;
  feed.request = object.attr("request").cast<int64_t>();
  feed.tokens = object.attr("tokens").cast<TokenIds>();
  feed.positions = object.attr("positions").cast<std::vector<int32_t>>();
  feed.parents = object.attr("parents").cast<std::vector<int32_t>>();
  feed.rows = object.attr("rows").cast<int64_t>();
  set_keep(feed, object.attr("keep"));
  return feed;
}

// float32 [rows, vocab], which keeps the logits' memory from being used again.
py::array_t<float> array_of(const Logits& logits) {
  const RowsView& rows = logits.rows();
  using Owner = std::shared_ptr<const float[]>;
  const py::capsule owner(new Owner(logits.numbers()),
                          [](void* held) { delete static_cast<Owner*>(held); });
  return py::array_t<float>({rows.rows, rows.cols}, static_cast<const float*>(rows.data), owner);
}

template <class Enum>
Enum by_name(const std::string& what, const std::string& name,
             std::initializer_list<std::pair<const char*, Enum>> known) {
  std::string names;
  for (const auto& [candidate, value] : known) {
    if (name == candidate) return value;
    names += (names.empty() ? "" : ", ") + std::string(candidate);
  }
  throw Error(ErrorKind::kValue,
              "[native.load] expected " + what + " out of " + names + ", got " + name);
}

std::unique_ptr<Decoder> load(const std::string& path, const std::optional<std::string>& weights,
                              const std::string& cache) {
  DecoderOptions options;
  if (weights) {
    options.weights = by_name<DecoderWeights>("weights", *weights,
                                              {{"float32", DecoderWeights::kFloat32},
                                               {"bfloat16", DecoderWeights::kBFloat16},
                                               {"int8", DecoderWeights::kInt8},
                                               {"int4", DecoderWeights::kInt4}});
  }
  options.cache = by_name<DType>("cache", cache,
                                 {{"float32", DType::kFloat32}, {"bfloat16", DType::kBFloat16}});
  const py::gil_scoped_release release;
  return std::make_unique<Decoder>(path, options);
}

}  // namespace

void bind_decoder(py::module_& module) {
  py::class_<Decoder>(module, "Decoder",
                      "A transformer decoder on a CPU; `anydraft.native` wraps it.")
      .def(py::init(&load), py::arg("path"), py::arg("weights"), py::arg("cache"))
      .def(
          "forward",
          [](Decoder& decoder, const py::typing::Iterable<py::object>& feeds) {
            std::vector<Feed> all;
            for (const py::handle feed : feeds) all.push_back(feed_of(feed));
            Logits logits;
            {
              const py::gil_scoped_release release;
              logits = decoder.forward(all);
            }
            return array_of(logits);
          },
          py::arg("feeds"))
      .def("forget", &Decoder::forget, py::arg("request"))
      .def_property_readonly("vocab_size", &Decoder::vocab_size)
      .def_property_readonly("context_length", &Decoder::context_length)
      .def_property_readonly("stop_tokens", &Decoder::stop_tokens)
      .def_property_readonly("description", &Decoder::description)
      .def_property_readonly("cache_bytes_per_token", &Decoder::cache_bytes_per_token)
      .def_property_readonly("cached_requests", &Decoder::cached_requests);
}

}  // namespace anydraft::bindings
