/*
 * An open-loop load generator: requests leave at the times of a Poisson process, whether or not earlier ones are answered.
 * bench/rig/open-loop.ts builds it, runs it and reads the one line of JSON that it prints.
 *
 *   open-loop PORT PATH RATE_PER_SEC DURATION_SEC SEED
 *
 * Before the first arrival, every connection is open and has had an answer. An arrival takes an idle connection. When there
 * is none it waits in a queue; an arrival that finds MAX_BACKLOG others waiting makes the oldest of them fail. Latency
 * counts from the scheduled time of a request to the end of its answer, so it includes the delay of the generator, which is
 * also reported alone as the lag. Requests of the first part of the run are sent but not timed; failures count from the start.
 *
 * Between arrivals it sleeps with nanosecond precision (epoll_pwait2, Linux 5.11), because a loop that spins would take a
 * core from the others. Exit 0 with figures, 1 without figures, 2 for wrong arguments.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 256, MAX_BACKLOG = 16384, MAX_REOPENED = 4096, HEAD_MAX_BYTES = 8192, EVENTS = 64 };
enum { PRIMING = -1, NOBODY = -2 };

#define NS_PER_SEC 1000000000LL
static const int64_t LINGER_NS = 2 * NS_PER_SEC;
static const int64_t PRIME_NS = 5 * NS_PER_SEC;
static const int64_t MAX_ARRIVALS = 20000000;
static const double WARM_UP_SHARE = 0.2;

struct connection {
  int fd;
  bool connected;
  /* Index in the schedule of the request that waits for its answer; or PRIMING, or NOBODY. */
  int64_t arrival;
  size_t head_bytes;
  /* Bytes of the answer's body that are still to come; -1: the head is not complete. */
  int64_t body_left;
  bool last;
  char head[HEAD_MAX_BYTES + 1];
};

static struct connection connections[CONNECTIONS];
static struct connection *idle[CONNECTIONS];
static int idle_count, epoll_fd, reopened;
static uint16_t port;
static char request[1024];
static int request_bytes;

/* Arrivals [0, sent) were sent or have failed, [sent, due) wait for a connection, the rest are in the future. Times are ns of CLOCK_MONOTONIC. */
static int64_t *schedule, *latencies, *lags;
static int64_t total, due, sent, finished, failed, backlog_max, latency_count, lag_count, timed_from_ns;

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * NS_PER_SEC + now.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, errno == 0 ? "no errno" : strerror(errno));
  exit(1);
}

static void usage(void) {
  fprintf(stderr, "usage: open-loop PORT PATH RATE_PER_SEC DURATION_SEC SEED (at most %lld requests)\n", (long long)MAX_ARRIVALS);
  exit(2);
}

static void watch(struct connection *c, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll_fd, operation, c->fd, &event) != 0) die("epoll_ctl");
}

static void open_connection(struct connection *c) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  int on = 1;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  c->connected = false;
  c->arrival = NOBODY;
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) die("connect");
  watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void finish(int64_t arrival, bool good, int64_t at_ns) {
  if (arrival < 0) return;
  finished++;
  if (!good) failed++;
  else if (schedule[arrival] >= timed_from_ns) latencies[latency_count++] = at_ns - schedule[arrival];
}

/* Replaces a broken connection. The request that waits for its answer on it has failed. */
static void replace(struct connection *c) {
  for (int i = 0; i < idle_count; i++) {
    if (idle[i] == c) idle[i] = idle[--idle_count];
  }
  if (c->arrival == PRIMING) die("no good first answer");
  finish(c->arrival, false, 0);
  close(c->fd);
  if (++reopened > MAX_REOPENED) die("the server keeps no connections");
  open_connection(c);
}

static void ask(struct connection *c, int64_t arrival) {
  c->arrival = arrival;
  c->head_bytes = 0;
  c->body_left = -1;
  c->last = false;
  /* So few bytes always fit into the send buffer of a connection without a request under way. */
  if (send(c->fd, request, request_bytes, MSG_NOSIGNAL) != request_bytes) replace(c);
}

/* Gives an idle connection the oldest waiting arrival; without one it joins the idle connections. */
static void rest(struct connection *c) {
  c->arrival = NOBODY;
  if (sent < due) ask(c, sent++);
  else idle[idle_count++] = c;
}

static void send_due(void) {
  int64_t at_ns;
  while (due < total && (at_ns = now_ns()) >= schedule[due]) {
    if (schedule[due] >= timed_from_ns) lags[lag_count++] = at_ns - schedule[due];
    due++;
    if (idle_count > 0) ask(idle[--idle_count], sent++);
    else if (due - sent > MAX_BACKLOG) finish(sent++, false, at_ns);
    if (due - sent > backlog_max) backlog_max = due - sent;
  }
}

/* The value of a field in a head that ends with an empty line; NULL where the field is missing. `name` includes the colon. */
static const char *field(const char *head, const char *name) {
  for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n")) {
    if (strncasecmp(line + 2, name, strlen(name)) != 0) continue;
    line += 2 + strlen(name);
    return line + strspn(line, " \t");
  }
  return NULL;
}

/* Reads a complete head. false: this program does not understand the answer, or it is not a 200. */
static bool read_head(struct connection *c) {
  const char *length = field(c->head, "content-length:");
  const char *ends = field(c->head, "connection:");
  char *after;
  if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0 || length == NULL) return false;
  errno = 0;
  c->body_left = strtoll(length, &after, 10);
  c->last = ends != NULL && strncasecmp(ends, "close", 5) == 0;
  return errno == 0 && after != length && *after == '\r' && c->body_left >= 0;
}

/* Reads the bytes that have arrived. false: the connection must be given up. */
static bool take(struct connection *c, const char *bytes, size_t count, int64_t at_ns) {
  if (c->arrival == NOBODY) return false;
  if (c->body_left < 0) {
    size_t room = HEAD_MAX_BYTES - c->head_bytes, copied = count < room ? count : room;
    memcpy(c->head + c->head_bytes, bytes, copied);
    c->head[c->head_bytes + copied] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (end == NULL) {
      c->head_bytes += copied;
      return copied == count;
    }
    size_t head_end = end + 4 - c->head;
    end[2] = '\0';
    if (!read_head(c)) return false;
    bytes += head_end - c->head_bytes;
    count -= head_end - c->head_bytes;
  }
  if ((int64_t)count > c->body_left) return false;
  c->body_left -= count;
  if (c->body_left > 0) return true;
  finish(c->arrival, true, at_ns);
  c->arrival = NOBODY;
  if (c->last) return false;
  rest(c);
  return true;
}

static void handle(struct connection *c, uint32_t events) {
  static char bytes[65536];
  if (!c->connected) {
    /* The event belongs to a connection that was replaced meanwhile. */
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if ((errno = error) != 0) die("connect");
    c->connected = true;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    if (timed_from_ns == 0) ask(c, PRIMING);
    else rest(c);
    return;
  }
  ssize_t count = recv(c->fd, bytes, sizeof bytes, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0 || !take(c, bytes, count, now_ns())) replace(c);
}

/* Handles the events that are there or come within the time. Arrivals that become due meanwhile are sent first. */
static void turn(int64_t until_ns) {
  struct epoll_event events[EVENTS];
  int64_t left_ns = until_ns - now_ns();
  if (left_ns < 0) left_ns = 0;
  struct timespec timeout = {.tv_sec = left_ns / NS_PER_SEC, .tv_nsec = left_ns % NS_PER_SEC};
  long count = syscall(SYS_epoll_pwait2, epoll_fd, events, EVENTS, &timeout, NULL, 0);
  if (count < 0 && errno != EINTR) die("epoll_pwait2");
  for (long i = 0; i < count; i++) {
    send_due();
    handle(events[i].data.ptr, events[i].events);
  }
}

static void prime(void) {
  int64_t until_ns = now_ns() + PRIME_NS;
  for (int i = 0; i < CONNECTIONS; i++) open_connection(&connections[i]);
  while (idle_count < CONNECTIONS) {
    errno = 0;
    if (now_ns() >= until_ns) die("not all connections had an answer in time");
    turn(until_ns);
  }
}

/* SplitMix64: makes a value in (0, 1] from a counter. */
static double uniform(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return (double)(((z ^ (z >> 31)) >> 11) + 1) / 9007199254740992.0;
}

/* Draws all arrivals, starting at 0. Exponential pauses make a Poisson process. */
static void draw(double rate_per_sec, double duration_sec, uint64_t seed) {
  double expected = rate_per_sec * duration_sec;
  int64_t room = (int64_t)(expected + 10 * sqrt(expected) + 100);
  if (room > MAX_ARRIVALS) usage();
  schedule = calloc(room, sizeof *schedule);
  latencies = calloc(room, sizeof *latencies);
  lags = calloc(room, sizeof *lags);
  if (schedule == NULL || latencies == NULL || lags == NULL) die("calloc");
  double at_sec = 0;
  while (total < room && (at_sec -= log(uniform(&seed)) / rate_per_sec) < duration_sec) {
    schedule[total++] = (int64_t)(at_sec * NS_PER_SEC);
  }
  memset(latencies, 1, room * sizeof *latencies); /* Pages are faulted in now, not during the run. */
  memset(lags, 1, room * sizeof *lags);
}

static int by_size(const void *a, const void *b) {
  int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
  return (left > right) - (left < right);
}

/* By the nearest rank. `values` are sorted; 0 where there are none. */
static double percentile_ms(const int64_t *sorted, int64_t count, double share) {
  if (count == 0) return 0;
  int64_t rank = (int64_t)ceil(share * count);
  return sorted[(rank < 1 ? 1 : rank) - 1] / 1e6;
}

static double cpu_sec(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void run(double duration_sec) {
  double cpu_before_sec = cpu_sec();
  int64_t start_ns = now_ns(), end_ns = start_ns + (int64_t)(duration_sec * NS_PER_SEC);
  timed_from_ns = start_ns + (int64_t)(duration_sec * WARM_UP_SHARE * NS_PER_SEC);
  for (int64_t i = 0; i < total; i++) schedule[i] += start_ns;
  while (finished < total && now_ns() < end_ns + LINGER_NS) {
    send_due();
    turn(due < total ? schedule[due] : end_ns + LINGER_NS);
  }
  double wall_sec = (double)(now_ns() - start_ns) / NS_PER_SEC;
  double cpu_share = (cpu_sec() - cpu_before_sec) / wall_sec;
  failed += total - finished;
  qsort(latencies, latency_count, sizeof *latencies, by_size);
  qsort(lags, lag_count, sizeof *lags, by_size);
  printf("{\"requests\":%lld,\"failed\":%lld", (long long)latency_count, (long long)failed);
  printf(",\"p50Ms\":%.4f,\"p99Ms\":%.4f", percentile_ms(latencies, latency_count, 0.5),
         percentile_ms(latencies, latency_count, 0.99));
  printf(",\"p999Ms\":%.4f,\"maxMs\":%.4f", percentile_ms(latencies, latency_count, 0.999),
         percentile_ms(latencies, latency_count, 1));
  printf(",\"lagP50Ms\":%.4f,\"lagP99Ms\":%.4f", percentile_ms(lags, lag_count, 0.5),
         percentile_ms(lags, lag_count, 0.99));
  printf(",\"cpuShare\":%.4f,\"backlogMax\":%lld,\"reopened\":%d}\n", cpu_share, (long long)backlog_max, reopened);
}

int main(int count, char **words) {
  if (count != 6) usage();
  port = (uint16_t)atoi(words[1]);
  double rate_per_sec = atof(words[3]), duration_sec = atof(words[4]);
  request_bytes = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", words[2]);
  if (port == 0 || !(rate_per_sec > 0) || !(duration_sec > 0) || request_bytes >= (int)sizeof request) usage();
  prctl(PR_SET_TIMERSLACK, 1);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll_create1");
  prime();
  draw(rate_per_sec, duration_sec, strtoull(words[5], NULL, 10));
  run(duration_sec);
  return 0;
}
