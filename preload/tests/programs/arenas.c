/* Prints how many arenas there are once more threads than that have used the heap. */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_barrier_t barrier;

static void *worker(void *argument) {
    free(malloc(100));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return argument;
}

int main(void) {
    pthread_t threads[8];
    pthread_barrier_init(&barrier, NULL, 9);
    for (int index = 0; index < 8; index++) pthread_create(&threads[index], NULL, worker, NULL);
    pthread_barrier_wait(&barrier);
    char *text;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    malloc_info(0, stream);
    fclose(stream);
    int count = 0;
    for (char *next = text; (next = strstr(next, "<heap nr=")); next++) count++;
    printf("%d\n", count);
    pthread_barrier_wait(&barrier);
    for (int index = 0; index < 8; index++) pthread_join(threads[index], NULL);
    free(text);
    return 0;
}
