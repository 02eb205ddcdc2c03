// Speculative decoding in C++: the engine, and two models of the native decoder with vocabularies
// of their own.
//
//   two_models TARGET TARGET_TABLE DRAFTER DRAFTER_TABLE "prompt"
//
// Models are GGUF files or folders of safetensors; tables come from `anydraft vocab --export`.
#include <anydraft/decoder.h>
#include <anydraft/engine.h>
#include <anydraft/vocabulary_file.h>

#include <cstdio>
#include <exception>
#include <memory>

static std::shared_ptr<const anydraft::Vocabulary> vocabulary_of(const char* table) {
  return std::make_shared<const anydraft::Vocabulary>(anydraft::read_vocabulary(table));
}

static void decode(char** args) {
  anydraft::Decoder target(args[1]), drafter(args[3]);
  const auto vocabulary = vocabulary_of(args[2]);
  anydraft::EngineOptions options;
  options.bridge = anydraft::Bridge::kSlem;
  options.draft_length = 8;
  options.draft_confidence = 0.4;
  options.target_context = target.context_length();
  options.draft_context = drafter.context_length();
  anydraft::Engine engine(vocabulary, vocabulary_of(args[4]), options);

  anydraft::Request request;
  request.prompt = vocabulary->prefix();  // BOS, where the model wants one
  for (int32_t token : vocabulary->encode_as_owner(args[5], false)) request.prompt.push_back(token);
  request.sampling.temperature = 0;
  request.max_tokens = 64;
  request.stop = target.stop_tokens();
  const int64_t id = engine.add(request);
  size_t shown = 0;
  for (auto work = engine.next(); work.model != anydraft::ModelRole::kIdle; work = engine.next()) {
    const bool of_target = work.model == anydraft::ModelRole::kTarget;
    const anydraft::Logits logits = (of_target ? target : drafter).forward(work.feeds);
    engine.feed(work, logits.rows(), logits.numbers());  // held until they have been judged
    for (; shown < engine.emitted(id).size(); ++shown) {
      std::fputs(vocabulary->decode({engine.emitted(id)[shown].token}).c_str(), stdout);
    }
    std::fflush(stdout);
  }
  engine.check(id);  // throws what ended the request before its time
  const anydraft::Stats stats = engine.stats(id);
  std::printf("\n%zu tokens in %lld calls of the target\n", shown,
              static_cast<long long>(stats.target_calls));
}

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fputs("usage: two_models TARGET TARGET_TABLE DRAFTER DRAFTER_TABLE PROMPT\n", stderr);
    return 2;
  }
  try {
    decode(argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "two_models: %s\n", error.what());
    return 1;
  }
}
