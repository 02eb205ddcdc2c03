// Gives registers their rows: liveness by basic blocks, then a linear scan.
#include <algorithm>
#include <queue>
#include <set>

#include "translate.h"

namespace ptx {
namespace {

using Set = std::vector<uint64_t>;
bool has(const Set& set, int at) { return set[at >> 6] >> (at & 63) & 1; }
void put(Set& set, int at) { set[at >> 6] |= uint64_t{1} << (at & 63); }

struct Block {
  int begin, end;  // instructions
  std::vector<int> next;
  size_t first_reference = 0, last_reference = 0;
  Set reads, writes, live;  // live: at the block's beginning
};

std::vector<Block> blocks_of(const Module& module, int first) {
  const int end = static_cast<int>(module.code.size());
  std::set<int> leaders{first};
  for (int at = first; at < end; ++at) {
    const Instruction& one = module.code[at];
    if (one.op == Op::kBranch) leaders.insert(one.target);
    if (one.op == Op::kBranch || one.op == Op::kReturn) leaders.insert(at + 1);
  }
  leaders.erase(end);
  std::vector<Block> blocks;
  std::map<int, int> block_at;
  for (const int at : leaders) {
    if (!blocks.empty()) blocks.back().end = at;
    block_at[at] = static_cast<int>(blocks.size());
    blocks.push_back({at, end, {}, 0, 0, {}, {}, {}});
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    const Instruction& last = module.code[blocks[i].end - 1];
    const bool leaves = last.op == Op::kBranch || last.op == Op::kReturn;
    if (last.op == Op::kBranch) blocks[i].next.push_back(block_at.at(last.target));
    if ((!leaves || last.guard != -1) && i + 1 < blocks.size()) {
      blocks[i].next.push_back(static_cast<int>(i + 1));
    }
  }
  return blocks;
}

struct Interval {
  int begin = -1, end = -1, row = -1;
  void reach(int from, int to) {
    begin = begin < 0 ? from : std::min(begin, from);
    end = std::max(end, to);
  }
};

void find_live(std::vector<Block>& blocks) {
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = blocks.size(); i-- > 0;) {
      Block& block = blocks[i];
      Set live = block.reads;
      for (const int next : block.next) {
        for (size_t w = 0; w < live.size(); ++w) live[w] |= blocks[next].live[w] & ~block.writes[w];
      }
      if (live != block.live) block.live = std::move(live), changed = true;
    }
  }
}

uint32_t scan(std::vector<Interval>& intervals) {
  std::vector<Interval*> by_begin;
  for (Interval& one : intervals) {
    if (one.begin >= 0) by_begin.push_back(&one);
  }
  std::sort(by_begin.begin(), by_begin.end(),
            [](const Interval* a, const Interval* b) { return a->begin < b->begin; });
  std::priority_queue<std::pair<int, int>, std::vector<std::pair<int, int>>, std::greater<>> active;
  std::priority_queue<int, std::vector<int>, std::greater<>> free;
  int rows = 0;
  for (Interval* one : by_begin) {
    // An instruction never writes a row that it reads, since lanes may read one another's values.
    while (!active.empty() && active.top().first < one->begin) {
      free.push(active.top().second);
      active.pop();
    }
    if (free.empty()) free.push(rows++);
    one->row = free.top();
    free.pop();
    active.push({one->end, one->row});
  }
  return rows;
}

uint32_t give(Module& module, std::vector<Block>& blocks, const std::vector<Reference>& references,
              Rows rows) {
  int count = 0;
  for (const Reference& one : references) {
    if (one.rows != rows) continue;
    count = std::max(count, operand_of(module.code[one.instruction], one.slot) + 1);
  }
  const size_t words = (count + 63) / 64;
  for (Block& block : blocks) {
    block.reads.assign(words, 0), block.writes.assign(words, 0), block.live.assign(words, 0);
    for (size_t r = block.first_reference; r < block.last_reference;) {
      // First all reads of an instruction, then its writes.
      const int instruction = references[r].instruction;
      size_t end = r;
      for (; end < block.last_reference && references[end].instruction == instruction; ++end) {
      }
      const bool guarded = module.code[instruction].guard != -1;
      for (const bool writing : {false, true}) {
        for (size_t at = r; at < end; ++at) {
          if (references[at].rows != rows) continue;
          const bool writes = references[at].writes;
          const int name = operand_of(module.code[instruction], references[at].slot);
          if (!writing && (!writes || guarded) && !has(block.writes, name)) put(block.reads, name);
          if (writing && writes && !guarded) put(block.writes, name);
        }
      }
      r = end;
    }
  }
  find_live(blocks);
  std::vector<Interval> intervals(count);
  for (Block& block : blocks) {
    for (int name = 0; name < count; ++name) {
      if (has(block.live, name)) intervals[name].reach(block.begin, block.begin);
    }
    for (const int next : block.next) {
      for (int name = 0; name < count; ++name) {
        if (has(blocks[next].live, name)) intervals[name].reach(block.end - 1, block.end - 1);
      }
    }
  }
  for (const Reference& one : references) {
    if (one.rows != rows) continue;
    intervals[operand_of(module.code[one.instruction], one.slot)].reach(one.instruction,
                                                                        one.instruction);
  }
  const uint32_t used = scan(intervals);
  for (const Reference& one : references) {
    if (one.rows != rows) continue;
    Operand& operand = operand_of(module.code[one.instruction], one.slot);
    operand = intervals[operand].row;
  }
  return used;
}

}  // namespace

void give_rows(Module& module, Function& function, const std::vector<Reference>& references) {
  std::vector<Block> blocks = blocks_of(module, function.first);
  size_t at = 0;
  for (Block& block : blocks) {
    block.first_reference = at;
    while (at < references.size() && references[at].instruction < block.end) ++at;
    block.last_reference = at;
  }
  function.rows32 = give(module, blocks, references, Rows::k32);
  function.rows64 = give(module, blocks, references, Rows::k64);
  function.predicates = give(module, blocks, references, Rows::kPredicate);
}

}  // namespace ptx
