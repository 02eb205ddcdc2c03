// The exported table: what is written comes back, and nothing that was damaged does.
#include "vocab/table_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "anydraft/error.h"
#include "anydraft/vocabulary_file.h"

namespace anydraft::detail {
namespace {

template <typename T>
Array<T> view(const std::vector<T>& values) {
  return {values.data(), values.size()};
}

// Three ids: "a", "bc" and the special "<s>".
struct Small {
  std::vector<char> bytes{'a', 'b', 'c'};
  std::vector<uint32_t> offsets{0, 1, 3, 3};
  std::vector<uint8_t> flags{0, 0, kSpecial};
  std::vector<char> strings{'<', 's', '>', 'b', 'o', 's'};
  std::vector<AddedToken> specials{{2, 0, 0, 3}};
  std::vector<Role> roles{{3, 3, 2}};
  std::vector<uint32_t> prefix{2};

  Tables tables() const {
    Tables all;
    all.bytes = view(bytes);
    all.offsets = view(offsets);
    all.flags = view(flags);
    all.strings = view(strings);
    all.specials = view(specials);
    all.roles = view(roles);
    all.prefix = view(prefix);
    return all;
  }
};

class TableFile : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "anydraft_table_" + std::to_string(::getpid());
    write_tables(small_.tables(), path_);
    std::ifstream file(path_, std::ios::binary);
    content_.assign(std::istreambuf_iterator<char>(file), {});
  }
  void TearDown() override { std::remove(path_.c_str()); }

  // What reading says of a file with this content; empty: nothing is wrong.
  std::string complaint(const std::string& content) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << content;
    try {
      read_tables(path_);
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kVocabulary);
      return error.what();
    }
  }

  Small small_;
  std::string path_, content_;
};

TEST_F(TableFile, ComesBackAsItWasWritten) {
  const OwnedTables read = read_tables(path_);
  const Tables expected = small_.tables();
  std::vector<std::string> ours, theirs;
  const auto collect = [](std::vector<std::string>& to) {
    return [&to](const char*, const auto& array) {
      to.emplace_back(reinterpret_cast<const char*>(array.data), array.size * sizeof(*array.data));
    };
  };
  each_array(expected, collect(theirs));
  each_array(read.tables, collect(ours));
  EXPECT_EQ(ours, theirs);
  const Vocabulary vocabulary = read_vocabulary(path_);
  EXPECT_EQ(vocabulary.size(), 3);
  EXPECT_EQ(vocabulary.decode({0, 2, 1}), "abc");
  EXPECT_EQ(vocabulary.role("bos"), TokenIds{2});
}

TEST_F(TableFile, EveryBeginningIsRefused) {
  for (size_t size = 0; size < content_.size(); ++size) {
    EXPECT_NE(complaint(content_.substr(0, size)), "") << size;
  }
  EXPECT_NE(complaint(content_ + '\0'), "");
  EXPECT_EQ(complaint(content_), "");
}

TEST_F(TableFile, EveryChangedByteIsSeen) {
  for (size_t at = 0; at < content_.size(); ++at) {
    for (int bit : {0, 7}) {
      std::string damaged = content_;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      EXPECT_NE(complaint(damaged), "") << at;
    }
  }
}

// Sealed with a checksum that is right, as one who means harm would.
TEST_F(TableFile, AForgedTableIsRefused) {
  const Small whole;
  std::vector<Small> forged;
  const auto forge = [&](const auto& change) { change(forged.emplace_back(whole)); };
  forge([](Small& t) { t.offsets[3] = 1u << 31; });        // behind the bytes
  forge([](Small& t) { t.offsets = {0, 3, 1, 3}; });       // backwards
  forge([](Small& t) { t.offsets[0] = 1; });               // no beginning
  forge([](Small& t) { t.flags.pop_back(); });             // of another number of ids
  forge([](Small& t) { t.flags[2] = 0; });                 // a special that is none
  forge([](Small& t) { t.flags[1] = kSpecial; });          // and one without a text
  forge([](Small& t) { t.specials[0].id = 0x7FFFFFFF; });  // an id that is not there
  forge([](Small& t) { t.specials[0].text = 0xFFFFFFFF; });
  forge([](Small& t) { t.specials[0].text_size = 0xFFFFFFFF; });
  forge([](Small& t) { t.roles[0].id = 3; });
  forge([](Small& t) { t.roles[0].name = 5; });
  forge([](Small& t) { t.prefix = {1u << 31}; });
  for (size_t i = 0; i < forged.size(); ++i) {
    write_tables(forged[i].tables(), path_);
    try {
      read_tables(path_);
      ADD_FAILURE() << "forged table " << i << " was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kVocabulary);
    }
  }
  write_tables(whole.tables(), path_);
  read_tables(path_);
}

TEST_F(TableFile, ANewerFormatIsNamed) {
  std::string newer = content_;
  newer[offsetof(FileHeader, version)] = kFileVersion + 1;
  EXPECT_NE(complaint(newer).find("newer anydraft"), std::string::npos);
  EXPECT_NE(complaint("{\"model\": {}}").find("expected an exported vocabulary"),
            std::string::npos);
}

TEST_F(TableFile, AMissingFileIsTheCallersFault) {
  try {
    read_tables(path_ + ".missing");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kValue);
  }
  EXPECT_THROW(write_tables(small_.tables(), "/nowhere/at/all"), Error);
}

TEST_F(TableFile, AnEncoderThatIsAFunctionIsNotExported) {
  const Vocabulary vocabulary({{"a"}, {}, {}, {}, {}}, [](std::string_view) { return TokenIds{}; });
  EXPECT_THROW(write_vocabulary(vocabulary, path_), Error);
}

}  // namespace
}  // namespace anydraft::detail
