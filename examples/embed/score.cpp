// Log-probabilities of the lines of stdin: score MODEL < lines
#include <recurlm.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace {

struct Close {
  void operator()(recurlm_model* model) const { recurlm_model_close(model); }
};

int fail() {
  std::cerr << "score: " << recurlm_message() << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: score MODEL < lines\n";
    return 2;
  }
  recurlm_model* opened = nullptr;
  if (recurlm_model_open(argv[1], &opened) != RECURLM_OK) return fail();
  const std::unique_ptr<recurlm_model, Close> model(opened);

  std::vector<std::string> lines;
  for (std::string line; std::getline(std::cin, line);) lines.push_back(line);
  std::vector<const char*> texts;
  std::vector<std::size_t> lengths;
  for (const std::string& line : lines) {
    texts.push_back(line.data());
    lengths.push_back(line.size());
  }
  std::vector<double> log_probs(lines.size());
  if (recurlm_score(model.get(), texts.data(), lengths.data(), lines.size(), 0, log_probs.data()) != RECURLM_OK) return fail();
  for (std::size_t i = 0; i < lines.size(); ++i) std::printf("%.6f\t%s\n", log_probs[i], lines[i].c_str());
}
