/*
 * A WebSocket echo of one fixed message of 1 KiB: the backend and the load. Both only count and compare bytes, so they cost little
 * beside the balancer between them. bench/rig/web-socket-echo.ts builds and runs it.
 *
 *   web-socket-echo serve PORT               answers other requests with 200
 *   web-socket-echo load PORT COUNT SECONDS  COUNT connections, one message under way on each; prints one line of JSON
 *
 * The client masks its message with zeros, so it is the same bytes in both directions. Exit 1 without figures, 2 for wrong arguments.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 1024, HEAD_MAX_BYTES = 4096, EVENTS = 256 };
static const int64_t OPENING_NS = 10000000000LL;

#define REQUEST \
  "GET /echo HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
  "Sec-WebSocket-Key: c2x1aWNlLWJlbmNoLWtleQ==\r\n\r\n"
#define SWITCHING \
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" \
  "Sec-WebSocket-Accept: n2ZGqNc7AIHfZhdL6MQavgzVNqk=\r\n\r\n"
#define PLAIN "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nnineteen bytes here"

struct frame {
  size_t size;
  char bytes[8 + MESSAGE_BYTES];
};

struct connection {
  int fd;
  bool switched;
  size_t got;
  char head[HEAD_MAX_BYTES + 1];
};

static struct frame masked = {8 + MESSAGE_BYTES, {(char)0x82, (char)0xfe, 4, 0}};
static struct frame unmasked = {4 + MESSAGE_BYTES, {(char)0x82, 126, 4, 0}};
/* What this side waits for, and what it sends then. */
static const struct frame *expected, *answer;
static bool serving;
static int epoll_fd, listener = -1;
static int64_t opened, messages, lost;

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static void watch(int fd, void *with) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = with};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
}

static void adopt(int fd) {
  struct connection *c = calloc(1, sizeof *c);
  int on = 1;
  if (c == NULL) die("calloc");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  c->fd = fd;
  watch(fd, c);
}

static void drop(struct connection *c) {
  lost++;
  close(c->fd);
  free(c);
}

/* A message and a head always fit into an empty send buffer. */
static bool send_all(struct connection *c, const char *bytes, size_t size) {
  return send(c->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static bool read_head(struct connection *c) {
  ssize_t count = recv(c->fd, c->head + c->got, HEAD_MAX_BYTES - c->got, 0);
  if (count <= 0) return count < 0 && errno == EAGAIN;
  c->got += count;
  c->head[c->got] = 0;
  if (strstr(c->head, "\r\n\r\n") == NULL) return c->got < HEAD_MAX_BYTES;
  c->got = 0;
  if (serving && strcasestr(c->head, "\r\nUpgrade: websocket\r\n") == NULL) return send_all(c, PLAIN, sizeof PLAIN - 1);
  c->switched = true;
  if (serving) return send_all(c, SWITCHING, sizeof SWITCHING - 1);
  if (strncmp(c->head, "HTTP/1.1 101 ", 13) != 0) return false;
  opened++;
  return send_all(c, answer->bytes, answer->size);
}

static bool read_message(struct connection *c) {
  char bytes[sizeof expected->bytes];
  ssize_t count = recv(c->fd, bytes, expected->size - c->got, 0);
  if (count <= 0) return count < 0 && errno == EAGAIN;
  if (memcmp(bytes, expected->bytes + c->got, count) != 0) return false;
  c->got += count;
  if (c->got < expected->size) return true;
  c->got = 0;
  messages++;
  return send_all(c, answer->bytes, answer->size);
}

static void accept_all(void) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) adopt(fd);
}

static void turn(void) {
  struct epoll_event events[EVENTS];
  int count = epoll_wait(epoll_fd, events, EVENTS, 100);
  for (int i = 0; i < count; i++) {
    struct connection *c = events[i].data.ptr;
    if (c == NULL) accept_all();
    else if (!(c->switched ? read_message(c) : read_head(c))) drop(c);
  }
}

static void serve(struct sockaddr_in *address) {
  int on = 1;
  serving = true;
  expected = &masked;
  answer = &unmasked;
  listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)address, sizeof *address) != 0 || listen(listener, 4096) != 0) die("listen");
  watch(listener, NULL);
  for (;;) turn();
}

static void load(struct sockaddr_in *address, int64_t count, double seconds) {
  int64_t began_ns = now_ns(), before;
  expected = &unmasked;
  answer = &masked;
  for (int64_t i = 0; i < count; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)address, sizeof *address) != 0) die("connect");
    if (send(fd, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) != sizeof REQUEST - 1) die("send");
    adopt(fd);
  }
  while (opened + lost < count && now_ns() < began_ns + OPENING_NS) turn();
  int64_t waiting = count - opened - lost;
  began_ns = now_ns();
  before = messages;
  while (lost < count && now_ns() < began_ns + seconds * 1e9) turn();
  printf("{\"requests\":%lld,\"errors\":%lld,\"badStatus\":0,\"timeouts\":%lld,\"durationSec\":%.6f}\n", (long long)(messages - before),
         (long long)lost, (long long)waiting, (now_ns() - began_ns) / 1e9);
}

int main(int argc, char **argv) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  memset(masked.bytes + 8, 'x', MESSAGE_BYTES);
  memset(unmasked.bytes + 4, 'x', MESSAGE_BYTES);
  if (argc < 3) return 2;
  address.sin_port = htons(atoi(argv[2]));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve(&address);
  else if (argc == 5 && strcmp(argv[1], "load") == 0) load(&address, atoll(argv[3]), atof(argv[4]));
  else return 2;
  return 0;
}
