// Handwritten kernels, right and wrong ones: what the interpreter must find, and what it must not.
#include "machine.h"

#include <cstdio>
#include <cstring>

namespace ptx {
namespace {

int failed = 0;

// One device memory, and launches one after another.
class Trial {
 public:
  explicit Trial(size_t words) : out_(static_cast<uint32_t*>(memory_.allocate(words * 4))) {
    findings_.keep_quiet(true);
    memory_.host_touches(out_, words * 4, true);
    std::memset(out_, 0, words * 4);
  }
  uint32_t* out() { return out_; }
  Findings& findings() { return findings_; }
  GlobalMemory& memory() { return memory_; }

  // Runs a kernel body that may use %out, %tid, %block, %t<9> (64 bits), %r<9>, %f<9>, %p<9> and
  // `buf`, which has 1 KB.
  Ended run(const char* body, uint32_t blocks, uint32_t threads, uint32_t cluster = 1,
            Known before = {9, 0}, Known after = {9, 0}, uint32_t grid = 10, uint64_t seed = 1) {
    const std::string text = std::string(R"(
.version 9.0
.target sm_90
.address_size 64
.entry kernel(.param .u64 to)
{
  .reg .b64 %out; .reg .b64 %t<9>; .reg .b32 %tid; .reg .b32 %block; .reg .b32 %r<9>;
  .reg .f32 %f<9>; .reg .pred %p<9>;
  .shared .align 8 .b8 buf[1024];
  ld.param.u64 %out, [to];
  mov.u32 %tid, %tid.x;
  mov.u32 %block, %ctaid.x;
)") + body + "\n  ret;\n}\n";
    module_ = translate(text);
    Launch launch;
    launch.module = module_.get(), launch.function = &module_->functions[0];
    launch.blocks = blocks, launch.threads = threads, launch.cluster = cluster, launch.grid = grid;
    launch.before = before, launch.after = after;
    launch.parameters.resize(8);
    std::memcpy(launch.parameters.data(), &out_, 8);
    return Machine(memory_, findings_, launch, seed).run();
  }

 private:
  GlobalMemory memory_;
  Findings findings_;
  std::unique_ptr<Module> module_;
  uint32_t* out_;
};

void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failed;
  std::printf("FAILED: %s\n", what.c_str());
}

// Runs the kernel with several seeds. `fault`: what must be found; empty: nothing may be.
void expect_of(const char* name, const char* body, const char* fault, uint32_t blocks,
               uint32_t threads, uint32_t cluster = 1) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    Trial trial(4096);
    trial.run(body, blocks, threads, cluster, {9, 0}, {9, 0}, 10, seed);
    const bool as_told = *fault ? trial.findings().any_says(fault) : trial.findings().count() == 0;
    if (!as_told) trial.findings().keep_quiet(false);
    if (!as_told) trial.findings().forget(), trial.run(body, blocks, threads, cluster);
    expect(as_told, std::string(name) + ", seed " + std::to_string(seed));
  }
}

// Writes buf[tid] and reads buf[tid ^ 32], which the other warp writes.
std::string exchange(const char* between) {
  return std::string(R"(
  mov.u32 %r1, buf;
  shl.b32 %r2, %tid, 2;
  add.s32 %r3, %r1, %r2;
  st.shared.u32 [%r3], %tid;)") +
         between + R"(
  xor.b32 %r4, %r2, 128;
  add.s32 %r4, %r1, %r4;
  ld.shared.u32 %r5, [%r4];
  mul.wide.u32 %t1, %tid, 4;
  add.s64 %t2, %out, %t1;
  st.global.u32 [%t2], %r5;)";
}

void test_shared_memory() {
  expect_of("exchange", exchange("bar.sync 0;").c_str(), "", 1, 64);
  expect_of("exchange without a barrier", exchange("").c_str(), "shared memory read", 1, 64);
  expect_of("one thread late at a barrier", R"(
  setp.eq.s32 %p1, %tid, 40;
  @%p1 bra $over;
  bar.sync 0;
$over:
  bar.sync 0;)",
            "lanes of a warp at different barriers", 1, 64);
  expect_of("a shuffle one lane does not reach", R"(
  setp.eq.s32 %p1, %tid, 3;
  @%p1 bra $wait;
  shfl.sync.bfly.b32 %r1|%p2, %tid, 1, 31, -1;
$wait:
  bar.sync 0;)",
            "deadlock", 1, 32);
  expect_of("shared memory never written", R"(
  ld.shared.u32 %r1, [buf+8];)",
            "never written", 1, 1);
  expect_of("past the end", R"(
  mov.u32 %r1, 1;
  st.shared.u32 [buf+1024], %r1;)",
            "outside of what lives", 1, 1);
  expect_of("misaligned", R"(
  st.global.u64 [%out+4], %out;)",
            "misaligned", 1, 1);
  expect_of("one entry too many", R"(
  mul.wide.u32 %t1, %tid, 4;
  add.s64 %t2, %out, %t1;
  ld.global.u32 %r1, [%t2+16260];)",
            "outside of what lives", 1, 32);
  expect_of("two blocks write one word", R"(
  st.global.u32 [%out], %tid;)",
            "written by two threads at once", 2, 1);
}

// Block 0 reads what block 1 wrote into its own shared memory.
std::string of_cluster(const char* begin, const char* end) {
  return std::string(R"(
  mov.u32 %r1, buf;
  cvt.u64.u32 %t1, %r1;
  cvta.shared.u64 %t1, %t1;
  st.shared.u32 [buf], %block;)") +
         begin + R"(
  setp.ne.s32 %p1, %block, 0;
  @%p1 bra $over;
  mapa.u64 %t2, %t1, 1;
  ld.u32 %r2, [%t2];
  st.global.u32 [%out], %r2;
$over:)" +
         end;
}

void test_clusters() {
  const char* sync = "barrier.cluster.arrive; barrier.cluster.wait;";
  expect_of("shared memory of a cluster", of_cluster(sync, sync).c_str(), "", 2, 1, 2);
  expect_of("no barrier before", of_cluster("", sync).c_str(), "may not have begun", 2, 1, 2);
  expect_of("no barrier behind", of_cluster(sync, "").c_str(), "a block", 2, 1, 2);
}

// The block that is counted last reads what all blocks wrote.
std::string counted(const char* before, const char* behind) {
  return std::string(R"(
  mul.wide.u32 %t1, %block, 4;
  add.s64 %t2, %out, %t1;
  add.s32 %r6, %block, 100;
  st.global.u32 [%t2+64], %r6;)") +
         before + "atom.add.u64 %t3, [%out], 1;" + behind + R"(
  setp.ne.s64 %p1, %t3, 3;
  @%p1 bra $over;
  ld.global.u32 %r1, [%out+64];
  ld.global.u32 %r2, [%out+68];
  ld.global.u32 %r3, [%out+72];
  ld.global.u32 %r4, [%out+76];
  add.s32 %r1, %r1, %r2;
  add.s32 %r1, %r1, %r3;
  add.s32 %r1, %r1, %r4;
  st.global.u32 [%out+128], %r1;
$over:)";
}

void test_publishing() {
  expect_of("the last block reads all", counted("membar.gl;", "membar.gl;").c_str(), "", 4, 1);
  expect_of("no fence before", counted("", "membar.gl;").c_str(), "may still write", 4, 1);
  expect_of("no fence behind", counted("membar.gl;", "").c_str(), "may still write", 4, 1);
  Trial trial(64);
  trial.run(counted("membar.gl;", "membar.gl;").c_str(), 4, 1);
  expect(trial.out()[32] == 406, "the sum of the last block");
}

// Grid 10 writes; grid 11 may begin before it has ended, grid 12 before 11 has.
void test_dependent_launches() {
  const char* write = "st.global.u32 [%out], %tid;";
  const char* read_behind = "griddepcontrol.wait; ld.global.u32 %r1, [%out];";
  const char* read_before = "ld.global.u32 %r1, [%out]; griddepcontrol.wait;";
  const auto finds = [&](const char* second, Known before, Known after) {
    Trial trial(16);
    trial.run(write, 1, 1);
    trial.run(second, 1, 1, 1, before, after, 11);
    return trial.findings().any_says("kernel that writes it may still run");
  };
  expect(!finds(read_behind, {9, 0}, {10, 0}), "reads behind the wait");
  expect(finds(read_before, {9, 0}, {10, 0}), "reads before the wait");
  expect(!finds(read_before, {10, 0}, {10, 0}), "reads before the wait of an ordered launch");
  Trial trial(16);
  trial.run(write, 1, 1);
  const Ended idle = trial.run("griddepcontrol.launch_dependents;", 1, 1, 1, {9, 0}, {10, 0}, 11);
  expect(!idle.some_waited, "a kernel that does not wait");
  trial.run(read_behind, 1, 1, 1, {9, 0}, {9, 11}, 12);
  expect(trial.findings().any_says("kernel that writes it may still run"),
         "what a kernel two before wrote, where the one between did not wait");
}

void test_arithmetic() {
  Trial trial(64);
  trial.run(R"(
  mov.f32 %f1, 0f3F800001;
  fma.rn.f32 %f2, %f1, %f1, 0fBF800002;
  st.global.f32 [%out], %f2;
  mov.f32 %f3, 0f7FC00001;
  max.f32 %f4, %f3, 0f80000000;
  st.global.f32 [%out+4], %f4;
  max.NaN.f32 %f4, %f3, %f1;
  st.global.f32 [%out+8], %f4;
  mov.f32 %f6, 0f5F000000;
  cvt.rzi.s32.f32 %r1, %f6;
  st.global.u32 [%out+12], %r1;
  shl.b32 %r1, %tid, 5;
  add.s32 %r1, %r1, 33;
  mov.u32 %r2, 7;
  shl.b32 %r2, %r2, %r1;
  st.global.u32 [%out+16], %r2;
  max.f32 %f5, 0f80000000, 0f00000000;
  st.global.f32 [%out+20], %f5;
  mov.b64 %t1, {%r1, %r2};
  bfi.b64 %t1, %t1, %t1, 32, 8;
  st.global.u64 [%out+24], %t1;)",
            1, 1);
  const uint32_t wanted[] = {0x28800000, 0x80000000, 0x7fffffff, 0x7fffffff, 0, 0, 33, 33};
  for (int i = 0; i < 8; ++i) {
    expect(trial.out()[i] == wanted[i],
           "arithmetic, word " + std::to_string(i) + ": " + std::to_string(trial.out()[i]));
  }
  expect(trial.findings().count() == 0, "arithmetic finds nothing");
}

}  // namespace
}  // namespace ptx

int main() {
  ptx::test_shared_memory();
  ptx::test_clusters();
  ptx::test_publishing();
  ptx::test_dependent_launches();
  ptx::test_arithmetic();
  std::printf("kernels by hand: %d failed\n", ptx::failed);
  return ptx::failed > 0;
}
