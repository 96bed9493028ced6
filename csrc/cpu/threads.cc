#include "cpu/threads.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#include <sys/resource.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif

#include "cpu/contention.h"

namespace recurlm {

namespace {

int cgroup_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return static_cast<int>(std::ceil(std::strtod(quota.c_str(), nullptr) / period));
}

int variable(const char* name) {
  const char* text = std::getenv(name);
  if (!text || !*text) return 0;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  // OMP_NUM_THREADS may be a list, one number for each nesting level, of which the first is ours; it is set for other programs
  // too, so that a large one is no mistake.
  const bool ours = std::strcmp(name, "RECURLM_NUM_THREADS") == 0;
  if (end == text || (*end != '\0' && *end != ',') || value < 1 || (ours && value > max_threads()))
    throw std::invalid_argument(std::string(name) + " must be a number of threads from 1 to " +
                                std::to_string(max_threads()) + ", not '" + text + "'");
  return static_cast<int>(std::min<long>(value, max_threads()));
}

int initial_threads() {
  if (const int n = variable("RECURLM_NUM_THREADS")) return n;
  if (const int n = variable("OMP_NUM_THREADS")) return n;
  return available_cores();
}

std::atomic<int>& thread_limit() {
  static std::atomic<int> limit{initial_threads()};
  return limit;
}

#ifdef _OPENMP

std::atomic<bool> region_running{false};
Contention contention;

int cores() {
  static const int count = available_cores();  // asked once: the answer takes a file and a system call
  return count;
}

// How often something else has run in place of a thread of this process.
long preemptions() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

// The pool's threads do not survive fork(), and libgomp would wait for them for ever: release them before it.
void release_pool_at_fork() {
  static std::once_flag once;
  std::call_once(once, [] {
    pthread_atfork([] { omp_pause_resource_all(omp_pause_hard); }, nullptr, [] { region_running = false; });
  });
}

#endif

void pause() {
#if defined(__aarch64__)
  asm volatile("yield");
#else
  __builtin_ia32_pause();
#endif
}

}  // namespace

int available_cores() {
  auto cores = static_cast<int>(std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
#endif
  if (const int quota = cgroup_quota()) cores = std::min(cores, quota);
  return std::max(cores, 1);
}

bool has_openmp() {
#ifdef _OPENMP
  return true;
#else
  return false;
#endif
}

// libgomp ends the process where a thread cannot be made, so numbers that no machine profits from are refused.
int max_threads() { return std::max(64, 4 * available_cores()); }

int get_num_threads() { return thread_limit().load(std::memory_order_relaxed); }

void set_num_threads(int n) {
  if (n < 1 || n > max_threads())
    throw std::invalid_argument("threads must be from 1 to " + std::to_string(max_threads()) + ", not " +
                                std::to_string(n));
  thread_limit().store(n, std::memory_order_relaxed);
}

int threads_for(double operations) {
  // Waking a thread costs about a microsecond; one core does some 10^5 operations in that time.
  constexpr double per_thread = 5e5;
  const double useful = operations / per_thread;
  const int limit = get_num_threads();
  return useful >= limit ? limit : std::max(1, static_cast<int>(useful));
}

void Barrier::wait() {
  const unsigned generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
    return;
  }
  constexpr int spins = 4000;
  for (int spin = 0; generation_.load(std::memory_order_acquire) == generation; ++spin) {
    if (spin == spins) return yield_until_after(generation);
    pause();
  }
}

void Barrier::yield_until_after(unsigned generation) {
  using Clock = std::chrono::steady_clock;
  constexpr Clock::duration patience = std::chrono::milliseconds(5), nap = std::chrono::microseconds(100);
  const auto start = Clock::now();
  while (generation_.load(std::memory_order_acquire) == generation) {
    std::this_thread::yield();
    if (Clock::now() - start > patience) std::this_thread::sleep_for(nap);
  }
  waited_.fetch_add((Clock::now() - start).count(), std::memory_order_relaxed);
}

namespace detail {

void run_team(int threads, void (*body)(Team&, const void*), const void* context) {
#ifdef _OPENMP
  bool expected = false;
  const auto start = std::chrono::steady_clock::now();
  const bool avoidable = threads <= cores();
  if (threads > 1 && !(avoidable && contention.backs_off(start)) && region_running.compare_exchange_strong(expected, true)) {
    release_pool_at_fork();
    Barrier barrier(threads);
    const long before = avoidable ? preemptions() : 0;
#pragma omp parallel num_threads(threads)
    {
      // num_threads is a wish: where fewer came, nobody would meet at the barrier, so one thread does all the work.
      if (omp_get_num_threads() == threads) {
        Team team(omp_get_thread_num(), threads, barrier);
        body(team, context);
        team.barrier();  // OpenMP's own would not tell how long it waits
      } else if (omp_get_thread_num() == 0) {
        Team team(0, 1, barrier);
        body(team, context);
      }
    }
    const auto end = std::chrono::steady_clock::now();
    if (avoidable)
      contention.report(end, end - start, barrier.waited(), threads, barrier.waited().count() > 0 && preemptions() > before);
    region_running.store(false);
    return;
  }
#else
  (void)threads;
#endif
  Barrier barrier(1);
  Team team(0, 1, barrier);
  body(team, context);
}

}  // namespace detail

}  // namespace recurlm
